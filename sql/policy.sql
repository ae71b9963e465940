-- The policy as data: protected tables, rules, tier policies. Written by the functions below only.
CREATE TABLE steward.protected (
    relation     regclass PRIMARY KEY,
    row_images   boolean NOT NULL DEFAULT false,
    protected_at timestamptz NOT NULL DEFAULT now(),
    protected_by text NOT NULL DEFAULT session_user
);
COMMENT ON TABLE steward.protected IS 'Tables under policy, each with its partitions, present and future.';

CREATE TABLE steward.rule (
    name             text PRIMARY KEY CHECK (name <> ''),
    tier             steward.tier NOT NULL,
    commands         text[],
    relation_pattern text,
    classes          text[],
    columns          name[],
    min_rows         bigint CHECK (min_rows > 0),
    roles            regrole[],
    except_roles     regrole[],
    except_relations text,
    note             text,
    installed        boolean NOT NULL DEFAULT false,
    approvals        int NOT NULL DEFAULT 0 CHECK (approvals BETWEEN 0 AND 9)
);
COMMENT ON COLUMN steward.rule.approvals IS 'Approvals by different persons that what the rule matches needs, where that is more than its tier demands. Of several rules the highest number counts.';
COMMENT ON TABLE steward.rule IS 'Which commands on which relations, columns, numbers of rows and roles have which tier. NULL = any; the highest matching tier wins; what no rule matches is critical.';
COMMENT ON COLUMN steward.rule.installed IS 'Came with the extension (manual 1.1).';

INSERT INTO steward.rule (name, tier, commands, min_rows, classes, note, installed) VALUES
    ('read',             'normal',    '{READ}',       NULL, NULL, 'Queries and reports (requirement 20).', true),
    ('write',            'normal',
        '{WRITE,FUNCTION be_lo_creat*,FUNCTION be_lo_from_bytea,FUNCTION be_lo_put,FUNCTION be_lo_truncate*,'
        'FUNCTION be_lo_unlink,FUNCTION be_lowrite}', NULL, NULL,
        'Changes of data that no other rule names (requirement 20), and of large objects.', true),
    ('upkeep',           'normal',
        '{UPKEEP,FUNCTION pg_logical_emit_message*,FUNCTION pg_rotate_logfile*,FUNCTION pg_switch_wal,'
        'FUNCTION pg_create_restore_point,FUNCTION pg_backup_start,FUNCTION pg_backup_stop}', NULL, NULL,
        'LOCK, ANALYZE, VACUUM, REINDEX, CREATE INDEX, COMMENT, own password; what backups call.', true),
    ('bulk_write',       'critical',  '{WRITE}',      50,   NULL, '50 rows or more (requirement 5).', true),
    ('sensitive_column', 'important', '{WRITE}',      NULL, '{id_card,address,guardian_contact}', 'Identity numbers, addresses, guardians (requirement 13).', true),
    ('export',           'important', '{EXPORT,FUNCTION pg_logical_slot_*}', NULL, NULL, 'Rows that leave protected tables.', true),
    ('structure',        'critical',  '{DDL}',        NULL, NULL, 'DROP, TRUNCATE, ALTER, CLUSTER, VACUUM FULL of protected tables (requirement 6).', true),
    ('partition',        'important', '{PARTITION}',  NULL, NULL, 'A new partition of a protected table.', true),
    ('privilege',        'critical',  '{PRIVILEGE}',  NULL, NULL, 'Privileges of administrators, of everybody and of unknown roles (requirement 3); what takes demands away.', true),
    ('account',          'important', '{ACCOUNT}',    NULL, NULL, 'Accounts and privileges of roles known to be no administrators (requirement 15).', true),
    ('config',           'critical',  '{CONFIG,FUNCTION pg_reload_conf}', NULL, NULL, 'Settings, extensions, files, libraries (requirement 2).', true),
    ('server_control',   'important',
        '{FUNCTION pg_create_physical_replication_slot,FUNCTION pg_copy_physical_replication_slot*,'
        'FUNCTION pg_drop_replication_slot,FUNCTION pg_replication_slot_advance,'
        'FUNCTION pg_replication_origin_advance,FUNCTION pg_replication_origin_create,FUNCTION pg_replication_origin_drop,'
        'FUNCTION pg_replication_origin_session_setup,FUNCTION pg_replication_origin_xact_setup,FUNCTION pg_terminate_backend,FUNCTION pg_promote,'
        'FUNCTION pg_wal_replay_pause,FUNCTION pg_wal_replay_resume}', NULL, NULL,
        'Ending sessions, promotion, replication slots and origins.', true),
    ('server_access',    'critical',
        '{FUNCTION pg_read_file*,FUNCTION pg_read_binary_file*,FUNCTION pg_ls_dir*,FUNCTION pg_stat_file*,'
        'FUNCTION be_lo_import*,FUNCTION be_lo_export,FUNCTION pg_file_*,FUNCTION pg_logdir_ls*,'
        'FUNCTION dblink_connect,FUNCTION dblink_exec,FUNCTION dblink_fetch,FUNCTION dblink_get_result,'
        'FUNCTION dblink_open,FUNCTION dblink_record,FUNCTION dblink_send_query,'
        'FUNCTION pg_create_logical_replication_slot,FUNCTION pg_copy_logical_replication_slot*,'
        'FUNCTION get_raw_page*,FUNCTION bt_page_items*,FUNCTION heap_force_*,'
        'FUNCTION pg_truncate_visibility_map,FUNCTION pg_nextoid,FUNCTION pg_stop_making_pinned_objects,'
        'FUNCTION pg_import_system_collations}', NULL, NULL,
        'Files of the server, other servers, libraries that decode the log, pages below the executor.', true),
    ('audit',            'critical',  '{AUDIT}',      NULL, NULL, 'The extension''s own objects (requirement 4).', true);
-- The role form has two signatures beside the applicant's (manual, form A).
UPDATE steward.rule SET approvals = 2 WHERE name = 'privilege';

CREATE TABLE steward.tier_policy (
    tier          steward.tier NOT NULL,
    post          text NOT NULL DEFAULT '',
    approvals     int NOT NULL DEFAULT 0 CHECK (approvals BETWEEN 0 AND 9),
    witness       boolean NOT NULL DEFAULT false,
    review_within interval,
    second_factor boolean NOT NULL DEFAULT false CHECK (NOT second_factor OR post <> 'service'),
    idle_timeout  interval CHECK (idle_timeout > interval '0'),
    pre_image     boolean NOT NULL DEFAULT false,
    PRIMARY KEY (tier, post)
);
COMMENT ON TABLE steward.tier_policy IS 'What a tier demands: approvals before, a second person at execution, a review within a term, a second factor, a session that was not idle for long, a pre-image. A row for a post wins over the row for every post ('''').';
COMMENT ON COLUMN steward.tier_policy.second_factor IS 'Who acts must have verified a code of their authenticator in the session (steward.verify_totp). Never the post service: nobody stands behind it.';
COMMENT ON COLUMN steward.tier_policy.idle_timeout IS 'A session that did nothing on record for longer is closed to this tier until it logs in anew; for the tier normal it is ended. NULL: no term; the post service has none without a row of its own.';
COMMENT ON COLUMN steward.tier_policy.pre_image IS 'A run keeps what it changes, so that steward.restore can bring it back; what cannot be kept is not run.';

INSERT INTO steward.tier_policy (tier, post, approvals, witness, review_within, second_factor, idle_timeout, pre_image) VALUES
    ('critical', '', 1, true, '24 hours', true, '15 minutes', true),
    ('critical', 'service', 1, true, '24 hours', false, NULL, true),
    ('important', '', 0, false, '24 hours', true, '30 minutes', false),
    ('important', 'service', 0, false, '24 hours', false, NULL, false),
    ('normal', '', 0, false, NULL, false, '60 minutes', false);

CREATE TABLE steward.activation (
    single       boolean PRIMARY KEY DEFAULT true CHECK (single),
    activated_at timestamptz NOT NULL DEFAULT now(),
    activated_by text NOT NULL
);
COMMENT ON TABLE steward.activation IS 'One row while the policy is active. Not dumped: a restored database is set up but not active.';

REVOKE ALL ON steward.protected, steward.rule, steward.tier_policy, steward.activation FROM PUBLIC;
GRANT SELECT ON steward.protected, steward.rule, steward.tier_policy, steward.activation TO PUBLIC;

-- A dump carries every row; a restore meets the rows that CREATE EXTENSION has just installed. The arguments are the columns
-- of the primary key.
CREATE FUNCTION steward._make_way() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    same_key text := (SELECT string_agg(format('t.%1$I = ($1).%1$I', k), ' AND ') FROM unnest(TG_ARGV) k);
    stands   boolean;
BEGIN
    -- Deleting, even nothing, makes every session read the policy again: not for each of ten thousand new rows.
    EXECUTE format('SELECT EXISTS (SELECT FROM %s t WHERE %s)', TG_RELID::regclass, same_key) INTO stands USING NEW;
    IF stands THEN
        EXECUTE format('DELETE FROM %s t WHERE %s', TG_RELID::regclass, same_key) USING NEW;
    END IF;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION steward._make_way() IS 'Trigger: a new row replaces the one with its key, so that a dump restores over the installed rows.';
REVOKE ALL ON FUNCTION steward._make_way() FROM PUBLIC;
CREATE TRIGGER make_way BEFORE INSERT ON steward.rule FOR EACH ROW EXECUTE FUNCTION steward._make_way('name');
CREATE TRIGGER make_way BEFORE INSERT ON steward.tier_policy FOR EACH ROW EXECUTE FUNCTION steward._make_way('tier', 'post');

SELECT pg_catalog.pg_extension_config_dump('steward.protected', '');
SELECT pg_catalog.pg_extension_config_dump('steward.rule', '');
SELECT pg_catalog.pg_extension_config_dump('steward.tier_policy', '');

CREATE FUNCTION steward.protect(relation regclass, row_images boolean DEFAULT false) RETURNS void
    LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'protect_wrapper';
COMMENT ON FUNCTION steward.protect(regclass, boolean) IS
    'Puts a table with its partitions, present and future, under policy. 42809 for views, foreign tables and partitions. Before activate(): superuser or a person who may configure; afterwards inside an approved critical operation.';

CREATE FUNCTION steward.unprotect(relation regclass) RETURNS void
    LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'unprotect_wrapper';
COMMENT ON FUNCTION steward.unprotect(regclass) IS
    'Takes a table out of the policy. 42704 if it is not protected. Callers as steward.protect; once the policy is active with as many approvals as the rules for PRIVILEGE demand, as installed two.';

CREATE FUNCTION steward.set_rule(name text, tier steward.tier, commands text[] DEFAULT NULL, relation_pattern text DEFAULT NULL,
    classes text[] DEFAULT NULL, columns name[] DEFAULT NULL, min_rows bigint DEFAULT NULL, roles regrole[] DEFAULT NULL,
    except_roles regrole[] DEFAULT NULL, except_relations text DEFAULT NULL, note text DEFAULT NULL,
    approvals int DEFAULT NULL) RETURNS void
    LANGUAGE c AS 'MODULE_PATHNAME', 'set_rule_wrapper';
COMMENT ON FUNCTION steward.set_rule(text, steward.tier, text[], text, text[], name[], bigint, regrole[], regrole[], text, text, int) IS
    'Creates or replaces a rule; NULL = any. approvals: how many different persons must approve what it matches, if more than its tier demands; 0 to 9. Commands are tags, the groups READ WRITE EXPORT UPKEEP DDL PARTITION PRIVILEGE ACCOUNT CONFIG AUDIT FUNCTION, or functions by C symbol (FUNCTION pg_read_file*); patterns are regular expressions over schema.table. 22023 for unknown commands and bad patterns. Callers as steward.protect; once the policy is active a rule is replaced with as many approvals as the rules for PRIVILEGE demand, and as it demanded itself.';

CREATE FUNCTION steward.drop_rule(name text) RETURNS void
    LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'drop_rule_wrapper';
COMMENT ON FUNCTION steward.drop_rule(text) IS 'Removes a rule. 42704 if there is none. What no rule matches is critical. Callers as steward.protect; once the policy is active with as many approvals as the rules for PRIVILEGE demand, and as the rule demanded itself.';

CREATE FUNCTION steward.set_tier_policy(tier steward.tier, approvals int DEFAULT NULL, witness boolean DEFAULT NULL,
    review_within interval DEFAULT NULL, second_factor boolean DEFAULT NULL, idle_timeout interval DEFAULT NULL,
    pre_image boolean DEFAULT NULL, post text DEFAULT NULL) RETURNS void
    LANGUAGE c AS 'MODULE_PATHNAME', 'set_tier_policy_wrapper';
COMMENT ON FUNCTION steward.set_tier_policy(steward.tier, int, boolean, interval, boolean, interval, boolean, text) IS
    'Changes what a tier demands, for every post or for one; NULL = keep. idle_timeout => ''0'' sets no term. 22023 for a second factor of the post service. 55000 if the policy is active and nobody could do what is demanded. Callers as steward.protect; once the policy is active with as many approvals as the rules for PRIVILEGE demand.';

CREATE FUNCTION steward.classify(script text, OUT step int, OUT statement text, OUT command text, OUT tier text, OUT rule text,
    OUT relations text[], OUT decision text, OUT reason text) RETURNS SETOF record
    LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'classify_wrapper';
COMMENT ON FUNCTION steward.classify(text) IS
    'Dry run: tier and decision of each statement of a script in this session. Executes nothing; what planning evaluates runs as nobody, with the rights of PUBLIC. Everybody may call it.';

REVOKE ALL ON FUNCTION steward.protect(regclass, boolean), steward.unprotect(regclass),
    steward.set_rule(text, steward.tier, text[], text, text[], name[], bigint, regrole[], regrole[], text, text, int),
    steward.drop_rule(text), steward.set_tier_policy(steward.tier, int, boolean, interval, boolean, interval, boolean, text)
    FROM PUBLIC;

CREATE FUNCTION steward.activate() RETURNS void LANGUAGE c AS 'MODULE_PATHNAME', 'activate_wrapper';
COMMENT ON FUNCTION steward.activate() IS
    'Switches the policy on for everybody, from the commit on. 55000 with a DETAIL that lists what is missing: for every person who may apply or configure an approver and a witness, an auditor, a person for every login, a key and an enrolled second factor for all who take part where one is demanded. It waits for transactions that set the policy up, and what would set it up meanwhile is refused afterwards. Callers as steward.protect.';

CREATE FUNCTION steward.deactivate() RETURNS void LANGUAGE c AS 'MODULE_PATHNAME', 'deactivate_wrapper';
COMMENT ON FUNCTION steward.deactivate() IS
    'Switches the policy off: everything is recorded, nothing refused. While the policy is active, inside an approved critical operation only, with as many approvals as the rules for PRIVILEGE demand, as installed two; DROP EXTENSION takes as many.';

REVOKE ALL ON FUNCTION steward.activate(), steward.deactivate() FROM PUBLIC;
