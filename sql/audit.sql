-- The audit trail: where records wait, the chain, and the views people read. Written by the hooks and the sequencer only.

CREATE TABLE steward.ledger (
    ledger            uuid PRIMARY KEY,
    started_at        timestamptz NOT NULL,
    system_identifier text NOT NULL,
    ancestor          uuid,
    ancestor_head     text,
    boot              uuid,
    head              text,
    clusters          text[],
    timeline          bigint,
    sealed_at         timestamptz,
    fork_epochs       bigint[] NOT NULL DEFAULT '{}',
    fork_ids          bigint[] NOT NULL DEFAULT '{}'
);
COMMENT ON TABLE steward.ledger IS 'One row for each chain of this database, the newest is kept here. Dumped, so that the chain of a restored database goes on behind its ancestor (an INCARNATION record says so).';
COMMENT ON COLUMN steward.ledger.system_identifier IS 'Of the cluster it began in; record 1 is bound to it.';
COMMENT ON COLUMN steward.ledger.ancestor IS 'The chain that this one goes on behind: of the dumped database, or of the extension that was created here before.';
COMMENT ON COLUMN steward.ledger.ancestor_head IS 'Last checkpoint line known of the ancestor.';
COMMENT ON COLUMN steward.ledger.boot IS 'The server start that was recorded last.';
COMMENT ON COLUMN steward.ledger.head IS 'Checkpoint line that was last written to the server log.';
COMMENT ON COLUMN steward.ledger.clusters IS 'System identifiers of the clusters it lived in, the present one last; more than one after pg_upgrade.';
COMMENT ON COLUMN steward.ledger.timeline IS 'The timeline that was recorded last.';
COMMENT ON COLUMN steward.ledger.sealed_at IS 'Time of the last record that the sequencer itself wrote; the next is never earlier.';
COMMENT ON COLUMN steward.ledger.fork_epochs IS 'Names of the former server starts that this chain lived through, the newest 1000: what was written in one refers to ids of its time.';
COMMENT ON COLUMN steward.ledger.fork_ids IS 'For each of them the last id that it shares with the present history.';
SELECT pg_extension_config_dump('steward.ledger', '');

-- Emptied by TRUNCATE as soon as one is left alone; autovacuum is for the time when a long transaction forbids that.
CREATE TABLE steward.journal_0 (batch bytea NOT NULL)
    WITH (autovacuum_vacuum_threshold = 20000, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_insert_threshold = -1,
          autovacuum_analyze_threshold = 2147483647, vacuum_truncate = false);
CREATE TABLE steward.journal_1 (batch bytea NOT NULL)
    WITH (autovacuum_vacuum_threshold = 20000, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_insert_threshold = -1,
          autovacuum_analyze_threshold = 2147483647, vacuum_truncate = false);
CREATE TABLE steward.journal_2 (batch bytea NOT NULL)
    WITH (autovacuum_vacuum_threshold = 20000, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_insert_threshold = -1,
          autovacuum_analyze_threshold = 2147483647, vacuum_truncate = false);
ALTER TABLE steward.journal_0 ALTER COLUMN batch SET STORAGE EXTERNAL;
ALTER TABLE steward.journal_1 ALTER COLUMN batch SET STORAGE EXTERNAL;
ALTER TABLE steward.journal_2 ALTER COLUMN batch SET STORAGE EXTERNAL;
COMMENT ON TABLE steward.journal_0 IS 'Records of committed transactions on their way to the chain; takes turns with journal_1 and journal_2.';
COMMENT ON TABLE steward.journal_1 IS 'Records of committed transactions on their way to the chain; takes turns with journal_0 and journal_2.';
COMMENT ON TABLE steward.journal_2 IS 'Records of committed transactions on their way to the chain; takes turns with journal_0 and journal_1.';

CREATE TABLE steward.journal_taken (
    start bigint PRIMARY KEY,
    rows  bigint NOT NULL
) WITH (fillfactor = 50);
COMMENT ON TABLE steward.journal_taken IS 'How many rows of the journal the sequencer has taken, compared with those that committed (files in pg_steward/journal of the data directory): a row that was deleted before it was taken leaves a record MISSING JOURNAL.';
COMMENT ON COLUMN steward.journal_taken.start IS 'The name, in the journal, of the server start that wrote the rows; below 0: minus the id of a prepared transaction whose rows they are.';

CREATE FUNCTION steward._journal_counted(OUT start bigint, OUT rows bigint) RETURNS SETOF record
    LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', '_journal_counted_wrapper';
COMMENT ON FUNCTION steward._journal_counted() IS 'What this server start has counted before this extension was created. Called at installation.';
REVOKE ALL ON FUNCTION steward._journal_counted() FROM PUBLIC;
INSERT INTO steward.journal_taken SELECT * FROM steward._journal_counted();

CREATE TABLE steward.spool_offset (
    boot         uuid NOT NULL,
    slot         int NOT NULL,
    generation   int NOT NULL,
    byte_offset  bigint NOT NULL,
    next_counter bigint NOT NULL,
    chained_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (boot, slot)
) WITH (fillfactor = 50);
COMMENT ON TABLE steward.spool_offset IS 'How far each lane of the spool is chained. Rows outlive their files, so that copies of them (base backup, pg_rewind, restore) are known; those of the newest 1000 server starts are kept.';
COMMENT ON COLUMN steward.spool_offset.boot IS 'The server start that wrote the lane.';
COMMENT ON COLUMN steward.spool_offset.generation IS 'The newest file of the lane that was read; all files before it are chained.';
COMMENT ON COLUMN steward.spool_offset.next_counter IS 'Counter that the next record of the lane must have.';

CREATE TABLE steward.installation (
    single       boolean PRIMARY KEY DEFAULT true CHECK (single),
    installed_at timestamptz NOT NULL DEFAULT now(),
    positions    bytea
);
INSERT INTO steward.installation DEFAULT VALUES;
COMMENT ON TABLE steward.installation IS 'One row: when this extension was created here. Records that the spool holds from before belong to an earlier ledger.';
COMMENT ON COLUMN steward.installation.positions IS 'Digests (SHA-256 of each row, XORed) of what the sequencer goes by and no record repeats: journal_taken, spool_offset, the chain''s row of ledger, the times of segment, installed_at. NULL before the chain begins. A verification fails where they are not those of the rows.';

-- An index that stores nothing, for tables whose rows lie in the order of their ids: those of the chain.
CREATE FUNCTION steward._order_handler(internal) RETURNS index_am_handler
    LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', '_order_handler_wrapper';
COMMENT ON FUNCTION steward._order_handler(internal) IS 'What PostgreSQL asks the access method steward_order for.';
CREATE ACCESS METHOD steward_order TYPE INDEX HANDLER steward._order_handler;
COMMENT ON ACCESS METHOD steward_order IS 'Index on the first column of a table that lies in its order: takes no room, and sorts where that order was broken. For the segments of steward.chain.';
CREATE OPERATOR CLASS steward.order_ops DEFAULT FOR TYPE bigint USING steward_order AS
    OPERATOR 1 < (bigint, bigint),  OPERATOR 1 < (bigint, int),  OPERATOR 1 < (bigint, smallint),
    OPERATOR 2 <= (bigint, bigint), OPERATOR 2 <= (bigint, int), OPERATOR 2 <= (bigint, smallint),
    OPERATOR 3 = (bigint, bigint),  OPERATOR 3 = (bigint, int),  OPERATOR 3 = (bigint, smallint),
    OPERATOR 4 >= (bigint, bigint), OPERATOR 4 >= (bigint, int), OPERATOR 4 >= (bigint, smallint),
    OPERATOR 5 > (bigint, bigint),  OPERATOR 5 > (bigint, int),  OPERATOR 5 > (bigint, smallint);
COMMENT ON OPERATOR CLASS steward.order_ops USING steward_order IS 'Numbers of records.';

-- The chain is stored in children of this table, which itself stays empty. No declarative partitions: how far a child
-- goes is known when it is closed.
CREATE TABLE steward.chain (
    id        bigint NOT NULL,
    record    bytea NOT NULL,
    prev_hash bytea NOT NULL CHECK (octet_length(prev_hash) = 32),
    hash      bytea NOT NULL CHECK (octet_length(hash) = 32)
);
CREATE TABLE steward.chain_1 () INHERITS (steward.chain) USING heap;
CREATE INDEX chain_1_order ON steward.chain_1 USING steward_order (id);
COMMENT ON TABLE steward.chain_1 IS 'Segment 1 of steward.chain.';
COMMENT ON TABLE steward.chain IS 'The audit records in their canonical bytes, each linked to the one before, in segments chain_1, chain_2, … of which the highest is open. Read it through steward.audit_log.';
COMMENT ON COLUMN steward.chain.id IS 'Position in the chain, without gaps from 1; not the order of time.';
COMMENT ON COLUMN steward.chain.hash IS 'SHA-256(0x02 || ledger || id || prev_hash || SHA-256(0x00 || record)).';

CREATE TABLE steward.segment (
    number      int PRIMARY KEY,
    first_id    bigint NOT NULL,
    last_id     bigint NOT NULL,
    first_time  timestamptz,
    last_time   timestamptz,
    last_hash   bytea NOT NULL,
    closed_at   timestamptz NOT NULL,
    closed_xid  xid8,
    archived_at timestamptz,
    file        text,
    file_sha256 bytea,
    file_bytes  bigint,
    prune_after bigint,
    prune_id    bigint,
    purged_at   timestamptz,
    purge_id    bigint
);
COMMENT ON TABLE steward.segment IS 'The closed segments of steward.chain: segment N is table steward.chain_N until it is archived.';
COMMENT ON COLUMN steward.segment.last_time IS 'Time of the last record; NULL if it is unreadable. Records of one moment may lie in two segments.';
COMMENT ON COLUMN steward.segment.closed_xid IS 'The next transaction id when its definitions were replaced: the table stays until what older transactions have recorded is chained. NULL: not yet.';
COMMENT ON COLUMN steward.segment.file IS 'Name of the archive file in pg_steward/archive of the data directory.';
COMMENT ON COLUMN steward.segment.prune_after IS 'The end of the chain when the segment was archived: its PRUNE record has a higher id.';
COMMENT ON COLUMN steward.segment.prune_id IS 'The PRUNE record that says the segment was archived; only after it was chained is the table dropped.';
COMMENT ON COLUMN steward.segment.purged_at IS 'When the archive file was removed, its offline term being over.';
COMMENT ON COLUMN steward.segment.purge_id IS 'The PURGE record that says so; NULL until the sequencer has found it.';

CREATE TABLE steward.definition (id bigint PRIMARY KEY);
COMMENT ON TABLE steward.definition IS 'Ids of the records of steward.chain that define who or what later records of their segment refer to.';

REVOKE ALL ON steward.definition, steward.ledger, steward.journal_0, steward.journal_1,
    steward.journal_2, steward.journal_taken, steward.spool_offset, steward.installation,
    steward.chain, steward.chain_1, steward.segment FROM PUBLIC;

-- Fields of a record, by their number in the record's format.
CREATE FUNCTION steward._record_text(record bytea, field int) RETURNS text
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', '_record_text_wrapper';
CREATE FUNCTION steward._record_bigint(record bytea, field int) RETURNS bigint
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', '_record_bigint_wrapper';
CREATE FUNCTION steward._record_time(record bytea) RETURNS timestamptz
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', '_record_time_wrapper';
CREATE FUNCTION steward._record_inet(record bytea) RETURNS inet
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', '_record_inet_wrapper';
CREATE FUNCTION steward._record_texts(record bytea, field int) RETURNS text[]
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', '_record_texts_wrapper';
CREATE FUNCTION steward._record_table(record bytea) RETURNS text
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', '_record_table_wrapper';
CREATE FUNCTION steward._record_details(record bytea, who bytea, what bytea) RETURNS text
    LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', '_record_details_wrapper';
COMMENT ON FUNCTION steward._record_text(bytea, int) IS 'A text field of an audit record, kind, tier and outcome by name; NULL if absent or unreadable. For the audit views.';
COMMENT ON FUNCTION steward._record_bigint(bytea, int) IS 'A number field of an audit record; NULL if absent or unreadable. For the audit views.';
COMMENT ON FUNCTION steward._record_time(bytea) IS 'The time of an audit record; NULL if unreadable. For the audit views.';
COMMENT ON FUNCTION steward._record_inet(bytea) IS 'The client address of an audit record; NULL if absent or no address. For the audit views.';
COMMENT ON FUNCTION steward._record_texts(bytea, int) IS 'A list field of an audit record; NULL if absent or unreadable. For the audit views.';
COMMENT ON FUNCTION steward._record_table(bytea) IS 'The first relation of an audit record; NULL if there is none. For the audit views.';
COMMENT ON FUNCTION steward._record_details(bytea, bytea, bytea) IS 'What the manual''s audit_logs keeps in details, as JSON text. For the audit views.';

-- The steps of operations, by number. `audit::table` puts no other record into it.
CREATE INDEX chain_1_operation ON steward.chain_1 (steward._record_text(record, 14))
    WHERE steward._record_text(record, 1) = 'operation';

CREATE FUNCTION steward._record_reference(record bytea, field int) RETURNS bigint
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', '_record_bigint_wrapper';
CREATE FUNCTION steward._undefined(record bytea, field int) RETURNS text
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', '_undefined_wrapper';
CREATE FUNCTION steward._defined_text(definition bytea, field int) RETURNS text
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', '_defined_text_wrapper';
CREATE FUNCTION steward._defined_inet(definition bytea) RETURNS inet
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', '_defined_inet_wrapper';
CREATE FUNCTION steward._defined_texts(definition bytea, field int) RETURNS text[]
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', '_defined_texts_wrapper';
CREATE FUNCTION steward._defined_table(definition bytea) RETURNS text
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', '_defined_table_wrapper';
COMMENT ON FUNCTION steward._record_reference(bytea, int) IS 'The id of the definition that an audit record refers to in this field; NULL if it has the content itself. For the audit views.';
COMMENT ON FUNCTION steward._undefined(bytea, int) IS 'What stands for who or what where the definition that an audit record refers to in this field is not found; NULL if it refers to none. For the audit views.';
COMMENT ON FUNCTION steward._defined_text(bytea, int) IS 'A text field of what a definition defines. For the audit views.';
COMMENT ON FUNCTION steward._defined_inet(bytea) IS 'The client address that a definition defines. For the audit views.';
COMMENT ON FUNCTION steward._defined_texts(bytea, int) IS 'A list field of what a definition defines. For the audit views.';
COMMENT ON FUNCTION steward._defined_table(bytea) IS 'The first relation of what a definition defines. For the audit views.';

-- What is shown comes from the chain, definitions included; the table of their ids only says where they are. An id that it
-- lacks shows, here and in steward.verify_chain().
CREATE VIEW steward._definition AS
    SELECT d.id, c.record FROM steward.definition d JOIN steward.chain c ON c.id = d.id;
COMMENT ON VIEW steward._definition IS 'The definitions that records refer to. For the audit views.';

-- Who has the capability audit may read the views audit_log, audit_logs and audit_status; register_person grants that.
CREATE VIEW steward.audit_log AS SELECT
    c.id,
    steward._record_time(c.record)              AS operation_time,
    coalesce(steward._record_text(c.record, 3), steward._defined_text(who.record, 3), steward._undefined(c.record, 23)) AS user_id,
    coalesce(steward._record_text(c.record, 4), steward._defined_text(who.record, 4)) AS effective_user,
    coalesce(steward._record_text(c.record, 5), steward._defined_text(who.record, 5)) AS person,
    coalesce(steward._record_inet(c.record), steward._defined_inet(who.record))       AS client_ip,
    coalesce(steward._record_text(c.record, 7), steward._defined_text(who.record, 7)) AS application_name,
    coalesce(steward._record_text(c.record, 9), steward._defined_text(what.record, 9), steward._undefined(c.record, 24)) AS operation_type,
    coalesce(steward._record_table(c.record), steward._defined_table(what.record))    AS table_name,
    coalesce(steward._record_texts(c.record, 10), steward._defined_texts(what.record, 10)) AS relations,
    coalesce(steward._record_text(c.record, 11), steward._defined_text(what.record, 11))::steward.tier AS tier,
    coalesce(steward._record_text(c.record, 12), steward._defined_text(what.record, 12)) AS rule,
    steward._record_text(c.record, 14)          AS op_no,
    steward._record_text(c.record, 15)          AS result,
    steward._record_text(c.record, 16)          AS sqlstate,
    steward._record_bigint(c.record, 17)        AS rows,
    steward._record_bigint(c.record, 18)        AS repeats,
    steward._record_bigint(c.record, 19)        AS duration_us,
    coalesce(steward._record_text(c.record, 13), steward._defined_text(what.record, 13)) AS statement,
    steward._record_text(c.record, 20)          AS details,
    c.prev_hash,
    c.hash
FROM steward.chain c
    LEFT JOIN steward._definition who ON who.id = steward._record_reference(c.record, 23)
    LEFT JOIN steward._definition what ON what.id = steward._record_reference(c.record, 24);
COMMENT ON VIEW steward.audit_log IS 'Every audit record, read from the bytes that are hashed. For auditors (capability audit). What was recorded just now appears after steward.flush_audit().';
COMMENT ON COLUMN steward.audit_log.id IS 'Position in the chain, without gaps; not the order of time.';
COMMENT ON COLUMN steward.audit_log.operation_time IS 'When the statement began.';
COMMENT ON COLUMN steward.audit_log.user_id IS 'Authenticated login; pg_steward for records of the server''s own life.';
COMMENT ON COLUMN steward.audit_log.effective_user IS 'Role whose privileges were used, where it is another.';
COMMENT ON COLUMN steward.audit_log.client_ip IS 'NULL for a unix socket.';
COMMENT ON COLUMN steward.audit_log.operation_type IS 'Command tag, or the step of an operation or of the server''s life.';
COMMENT ON COLUMN steward.audit_log.table_name IS 'First of the relations.';
COMMENT ON COLUMN steward.audit_log.result IS 'SUCCESS, FAILURE, DENIED or ROLLED_BACK.';
COMMENT ON COLUMN steward.audit_log.repeats IS 'How many equal nested statements this record stands for.';
COMMENT ON COLUMN steward.audit_log.duration_us IS 'Microseconds.';
COMMENT ON COLUMN steward.audit_log.statement IS 'Text with constants replaced.';
COMMENT ON COLUMN steward.audit_log.details IS 'JSON.';

CREATE VIEW steward.audit_logs AS SELECT
    c.id,
    coalesce(steward._record_text(c.record, 3), steward._defined_text(who.record, 3), steward._undefined(c.record, 23)) AS user_id,
    coalesce(steward._record_text(c.record, 9), steward._defined_text(what.record, 9), steward._undefined(c.record, 24)) AS operation_type,
    coalesce(steward._record_table(c.record), steward._defined_table(what.record))    AS table_name,
    steward._record_time(c.record)     AS operation_time,
    coalesce(steward._record_inet(c.record), steward._defined_inet(who.record))       AS client_ip,
    CASE steward._record_text(c.record, 15) WHEN 'SUCCESS' THEN 'SUCCESS' ELSE 'FAILURE' END AS result,
    steward._record_details(c.record, who.record, what.record) AS details,
    encode(c.prev_hash, 'hex')         AS prev_hash
FROM steward.chain c
    LEFT JOIN steward._definition who ON who.id = steward._record_reference(c.record, 23)
    LEFT JOIN steward._definition what ON what.id = steward._record_reference(c.record, 24);
COMMENT ON VIEW steward.audit_logs IS 'The audit table of the manual (4.3) over the same records as steward.audit_log. For auditors (capability audit).';
COMMENT ON COLUMN steward.audit_logs.result IS 'SUCCESS or FAILURE; denied and rolled back count as FAILURE.';
COMMENT ON COLUMN steward.audit_logs.details IS 'JSON: tier, rule, operation, person, rows, statement and what else is known.';
COMMENT ON COLUMN steward.audit_logs.prev_hash IS 'Hash of the record before, 64 hexadecimal digits.';

CREATE FUNCTION steward._audit_status(
    OUT sequencer_alive boolean, OUT sequencer_pid int, OUT lag interval, OUT last_id bigint, OUT last_chained_at timestamptz,
    OUT journal_bytes bigint, OUT spool_files int, OUT spool_bytes bigint, OUT spool_pending_bytes bigint, OUT lost bigint,
    OUT last_verified_id bigint, OUT last_verified_at timestamptz,
    OUT failed_verification text)
    RETURNS SETOF record LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', '_audit_status_wrapper';
COMMENT ON FUNCTION steward._audit_status() IS 'The state of the audit trail. For steward.audit_status.';

CREATE FUNCTION steward._mode() RETURNS text STABLE PARALLEL RESTRICTED LANGUAGE c AS 'MODULE_PATHNAME', '_mode_wrapper';
COMMENT ON FUNCTION steward._mode() IS 'The mode that holds: enforce, once this life of the server has seen it, whatever steward.mode says since. off where the library is not preloaded.';
CREATE FUNCTION steward._active() RETURNS boolean STABLE PARALLEL RESTRICTED LANGUAGE c AS 'MODULE_PATHNAME', '_active_wrapper';
COMMENT ON FUNCTION steward._active() IS 'Whether the policy is active, as every session knows it.';

CREATE VIEW steward.audit_status AS SELECT *, steward._mode() AS mode, steward._active() AS active FROM steward._audit_status();
COMMENT ON VIEW steward.audit_status IS 'One row: is the audit trail alive, and does the policy hold. For auditors (capability audit).';
COMMENT ON COLUMN steward.audit_status.lag IS 'Since the sequencer last came to rest: everything recorded before that is chained. NULL while it does not run.';
COMMENT ON COLUMN steward.audit_status.journal_bytes IS 'Size of the journals, taken rows included that are not emptied yet.';
COMMENT ON COLUMN steward.audit_status.spool_pending_bytes IS 'Bytes of spool files that are not chained.';
COMMENT ON COLUMN steward.audit_status.lost IS 'Records that could not be written and are not yet chained as LOST.';
COMMENT ON COLUMN steward.audit_status.last_verified_id IS 'Last record that a good verify_chain() from the oldest record on, or verify_new() after it, has reached.';
COMMENT ON COLUMN steward.audit_status.failed_verification IS 'What the last verification found that was not good: its kind and first record. Until a verify_chain() of everything is good again; NULL: nothing.';
COMMENT ON COLUMN steward.audit_status.mode IS 'The mode that holds; SHOW steward.mode is what is configured, and leaving enforce takes a restart.';
COMMENT ON COLUMN steward.audit_status.active IS 'After steward.activate(): with mode enforce, what is not allowed is refused.';

REVOKE ALL ON steward._definition, steward.audit_log, steward.audit_logs, steward.audit_status FROM PUBLIC;
-- The views call these with the rights of whoever reads them. None shows anything that its caller does not already hold.
GRANT EXECUTE ON FUNCTION steward._record_text(bytea, int), steward._record_bigint(bytea, int), steward._record_time(bytea),
    steward._record_inet(bytea), steward._record_texts(bytea, int), steward._record_table(bytea), steward._record_details(bytea, bytea, bytea),
    steward._record_reference(bytea, int), steward._undefined(bytea, int), steward._defined_text(bytea, int), steward._defined_inet(bytea),
    steward._defined_texts(bytea, int), steward._defined_table(bytea),
    steward._audit_status(), steward._mode(), steward._active() TO PUBLIC;
