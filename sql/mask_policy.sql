-- What may be said of steward.mask_rule, its exemptions, and the functions that write both.
COMMENT ON TABLE steward.mask_rule IS 'Which classes of columns a role sees masked, and how. The rules of every role that the current role is or is a member of count, superusers and owners included; the strictest wins. Written by steward.set_mask and steward.drop_mask.';
COMMENT ON COLUMN steward.mask_rule.class IS 'A class that columns are labelled with; ''*'' is every class; ''-'' is to have none, in the tables of the matrix, under policy, or with a class in another column.';
COMMENT ON COLUMN steward.mask_rule.mask IS 'none: by this rule the class is seen clear; any other rule is stricter.';
COMMENT ON COLUMN steward.mask_rule.predicate IS 'What the column is in a condition. masked: its mask. equal: itself where it is compared for equality with a constant or parameter, which is recorded; otherwise its mask. deny: refused with 42501.';

COMMENT ON COLUMN steward.mask_rule.write IS 'What the role may write into the column. guard: new values; what equals the mask of the stored value is taken for it and changes nothing. deny: nothing, 42501 for a statement that names the column, with NULL or DEFAULT too. allow: new values, also a number, date or UUID that equals the mask; the mask of a text is never stored. Masked columns are copied nowhere under any of them.';

CREATE TABLE steward.mask_exemption (
    role       regrole NOT NULL,
    class      text NOT NULL CHECK (class <> ''),
    until      timestamptz NOT NULL,
    reason     text NOT NULL CHECK (reason <> ''),
    granted_by text NOT NULL,
    granted_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (role, class)
);
COMMENT ON TABLE steward.mask_exemption IS 'Roles that see a class clear for a time, whatever the rules of the roles that they are members of. Written by steward.exempt_mask.';
COMMENT ON COLUMN steward.mask_exemption.until IS 'From then on the rules hold again, in plans that are kept too.';

REVOKE ALL ON steward.mask_rule, steward.mask_exemption FROM PUBLIC;
SELECT pg_catalog.pg_extension_config_dump('steward.mask_rule', '');
SELECT pg_catalog.pg_extension_config_dump('steward.mask_exemption', '');

CREATE FUNCTION steward.set_mask(role regrole, class text, mask text DEFAULT 'partial', prefix int DEFAULT NULL,
    suffix int DEFAULT NULL, predicate text DEFAULT 'masked', write text DEFAULT 'guard') RETURNS void
    LANGUAGE c AS 'MODULE_PATHNAME', 'set_mask_wrapper';
COMMENT ON FUNCTION steward.set_mask(regrole, text, text, int, int, text, text) IS 'Lets a role and its members see columns of a class masked, in every statement from the commit on, plans that are kept included. class: as in SECURITY LABEL FOR pg_steward; ''*'' for every class; ''-'' for columns without one, those added later too, of tables that are governed, protected or labelled. mask: partial hide hash pseudonym generalize none. prefix, suffix: characters that partial keeps, 0 to 64; NULL: as many as the class does. predicate: masked equal deny. write: guard deny allow (see steward.mask_rule). Errors: 22023 bad argument, 42704 unknown role. Callers as steward.protect; once the policy is active, a rule is replaced by a weaker one with as many approvals as the rules for PRIVILEGE demand.';

CREATE FUNCTION steward.drop_mask(role regrole, class text) RETURNS void
    LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'drop_mask_wrapper';
COMMENT ON FUNCTION steward.drop_mask(regrole, text) IS 'Removes a mask rule. 42704 if there is none. Callers as steward.protect; once the policy is active with as many approvals as the rules for PRIVILEGE demand, as installed two.';

CREATE FUNCTION steward.exempt_mask(role regrole, class text, until timestamptz, reason text) RETURNS void
    LANGUAGE c AS 'MODULE_PATHNAME', 'exempt_mask_wrapper';
COMMENT ON FUNCTION steward.exempt_mask(regrole, text, timestamptz, text) IS 'Lets a role and its members see a class (''*'': every class, but not ''-'', columns without one) clear until a time, at most a year away; a time that is over ends an exemption. Errors: 22023 without reason or time, or for too long; 42704 unknown role. Callers as steward.protect; once the policy is active with as many approvals as the rules for PRIVILEGE demand, but with none of these to end one.';

REVOKE ALL ON FUNCTION steward.set_mask(regrole, text, text, int, int, text, text), steward.drop_mask(regrole, text),
    steward.exempt_mask(regrole, text, timestamptz, text) FROM PUBLIC;
