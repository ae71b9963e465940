-- Who must approve, by relation to the applicant: rows are ANDed, the elements of a row are ORed.
CREATE TABLE steward.approval_rule (
    tier       steward.tier NOT NULL,
    rule       text NOT NULL DEFAULT '',
    step       int NOT NULL CHECK (step BETWEEN 1 AND 9),
    who        text[] NOT NULL CHECK (cardinality(who) BETWEEN 1 AND 50),
    capability text NOT NULL DEFAULT 'approve' CHECK (capability IN ('approve', 'witness', 'apply', 'configure')),
    PRIMARY KEY (tier, rule, step)
);
COMMENT ON TABLE steward.approval_rule IS 'Signatures that operations of a tier and of higher ones need besides the number of approvals: one person for each row, never the applicant. Written by steward.set_approval and steward.drop_approval only.';
COMMENT ON COLUMN steward.approval_rule.rule IS 'Only operations that the rule of this name matches; empty: all of the tier.';
COMMENT ON COLUMN steward.approval_rule.who IS 'Any of: supervisor and department (the applicant''s), post:<post>, person:<name>.';
COMMENT ON COLUMN steward.approval_rule.capability IS 'What the signer''s post must give.';

-- Filled by steward.request; review.sql ties it to the operations.
CREATE TABLE steward._operation_approval (
    op_no      text NOT NULL,
    tier       steward.tier NOT NULL,
    rule       text NOT NULL,
    step       int NOT NULL,
    who        text[] NOT NULL,
    capability text NOT NULL,
    PRIMARY KEY (op_no, tier, rule, step)
);
COMMENT ON TABLE steward._operation_approval IS 'The rows of steward.approval_rule that held for an operation when it was filed: they hold whatever becomes of the policy. Read through steward.operation.';

REVOKE ALL ON steward.approval_rule, steward._operation_approval FROM PUBLIC;
GRANT SELECT ON steward.approval_rule TO PUBLIC;
SELECT pg_catalog.pg_extension_config_dump('steward.approval_rule', '');

CREATE FUNCTION steward.set_approval(tier steward.tier, step int, who text[], rule text DEFAULT NULL,
    capability text DEFAULT 'approve') RETURNS void
    LANGUAGE c AS 'MODULE_PATHNAME', 'set_approval_wrapper';
COMMENT ON FUNCTION steward.set_approval IS
    'Creates or replaces a row of signatures: operations of this tier and of higher ones (with rule: those that it matches) need the approval of somebody of who, in addition to the number of approvals of their tier, and a person for each row. who: supervisor and department (the applicant''s), post:<post>, person:<name>; any of them. capability: what the signer''s post must give: approve, witness, apply or configure. From then on direct statements of the tier need an operation. What was filed before needs the row too. Errors: 22023 bad step, element or capability, 42704 unknown post, person or rule, 55000 if the policy is active and somebody''s operations could not be signed. Callers as steward.protect; once the policy is active with as many approvals as the rules for PRIVILEGE demand.';

CREATE FUNCTION steward.drop_approval(tier steward.tier, step int, rule text DEFAULT NULL) RETURNS void
    LANGUAGE c AS 'MODULE_PATHNAME', 'drop_approval_wrapper';
COMMENT ON FUNCTION steward.drop_approval IS
    'Removes a row of signatures. What was filed before goes on needing it. 42704 if there is none. Callers as steward.protect; once the policy is active with as many approvals as the rules for PRIVILEGE demand.';

CREATE FUNCTION steward._approvals_open(op_no text) RETURNS text[]
    STABLE STRICT LANGUAGE c AS 'MODULE_PATHNAME', '_approvals_open_wrapper';
COMMENT ON FUNCTION steward._approvals_open IS 'The rows of signatures of an operation that nobody fills now. For steward.operation; it tells nothing of the script.';

CREATE FUNCTION steward._may_sign(op_no text) RETURNS boolean
    STABLE STRICT LANGUAGE c AS 'MODULE_PATHNAME', '_may_sign_wrapper';
COMMENT ON FUNCTION steward._may_sign IS 'Whether a signature of the person behind this login counts, or would count, in an operation that waits. For steward.operation and steward.inbox.';

REVOKE ALL ON FUNCTION steward.set_approval, steward.drop_approval, steward._approvals_open, steward._may_sign FROM PUBLIC;
GRANT EXECUTE ON FUNCTION steward._approvals_open, steward._may_sign TO PUBLIC;
