-- How long records are kept: online in the chain, offline in archive files. Written by the functions below only.
CREATE TABLE steward.retention_policy (
    single          boolean PRIMARY KEY DEFAULT true CHECK (single),
    online          interval NOT NULL DEFAULT '30 days' CHECK (online > '0'),
    offline         interval NOT NULL DEFAULT '1 year' CHECK (offline >= online),
    segment_records bigint NOT NULL DEFAULT 5000000 CHECK (segment_records > 0),
    segment_age     interval NOT NULL DEFAULT '1 day' CHECK (segment_age > '0'),
    row_images      interval NOT NULL DEFAULT '30 days' CHECK (row_images > '0'),
    -- Six months, also the longest: the legal minimum (Cybersecurity Law, article 21; MLPS 2.0), whatever anybody sets.
    CONSTRAINT legal_minimum CHECK (timestamp '2001-09-01' - offline <= timestamp '2001-03-01')
);
COMMENT ON TABLE steward.retention_policy IS 'How long audit records are kept; one row. Written by steward.set_retention only.';
COMMENT ON COLUMN steward.retention_policy.online IS 'A record may be archived when it is older than this.';
COMMENT ON COLUMN steward.retention_policy.offline IS 'An archive file may be removed when its last record is older than this; six months at least.';
COMMENT ON COLUMN steward.retention_policy.segment_records IS 'A segment of the chain is closed when it holds as many records,';
COMMENT ON COLUMN steward.retention_policy.segment_age IS '… or when its first record is older than this.';
COMMENT ON COLUMN steward.retention_policy.row_images IS 'Images of rows and tables, which steward.restore needs, are kept so long.';
INSERT INTO steward.retention_policy DEFAULT VALUES;
CREATE TRIGGER make_way BEFORE INSERT ON steward.retention_policy FOR EACH ROW EXECUTE FUNCTION steward._make_way('single');
SELECT pg_catalog.pg_extension_config_dump('steward.retention_policy', '');

CREATE VIEW steward.audit_archive AS SELECT
    number, first_id, last_id, first_time, last_time, archived_at, file, encode(file_sha256, 'hex') AS sha256,
    file_bytes AS bytes, prune_id, purged_at
FROM steward.segment WHERE archived_at IS NOT NULL;
COMMENT ON VIEW steward.audit_archive IS 'The segments of the chain that were archived, in files of pg_steward/archive in the data directory. For auditors (capability audit). steward-witness verify reads the files without a server.';
COMMENT ON COLUMN steward.audit_archive.sha256 IS 'Of the file, 64 hexadecimal digits.';
COMMENT ON COLUMN steward.audit_archive.prune_id IS 'The record that says so; NULL while the sequencer has not chained it, and the records are still online.';
COMMENT ON COLUMN steward.audit_archive.purged_at IS 'When the file was removed.';

REVOKE ALL ON steward.retention_policy, steward.audit_archive FROM PUBLIC;
GRANT SELECT ON steward.retention_policy TO PUBLIC;

CREATE FUNCTION steward.set_retention(online interval DEFAULT NULL, offline interval DEFAULT NULL,
    segment_records bigint DEFAULT NULL, segment_age interval DEFAULT NULL, row_images interval DEFAULT NULL) RETURNS void
    LANGUAGE c AS 'MODULE_PATHNAME', 'set_retention_wrapper';
COMMENT ON FUNCTION steward.set_retention(interval, interval, bigint, interval, interval) IS 'How long records stay online and, as archive files, offline; NULL = keep. A segment of the chain, which is archived as a whole, is closed at segment_records or when its first record is segment_age old. row_images: how long images of rows and tables are kept. 22023 for terms that are not positive, an offline term below six months or below the online one. Callers as steward.protect.';

CREATE FUNCTION steward.archive_audit(before timestamptz DEFAULT NULL, OUT first_id bigint, OUT last_id bigint, OUT file text,
    OUT sha256 text, OUT bytes bigint) RETURNS SETOF record
    LANGUAGE c AS 'MODULE_PATHNAME', 'archive_audit_wrapper';
COMMENT ON FUNCTION steward.archive_audit(timestamptz) IS 'Writes the oldest closed segments whose last record is older than before (NULL: the online term ago) to compressed files in pg_steward/archive of the data directory, verifies records and files, and records a PRUNE; one row for each file. Once that record is chained, the sequencer drops the records: verification then begins at the cut. 22023 for a before within the online term, XX001 if a segment does not verify, 58030 if a file cannot be written. Callers as steward.protect.';

CREATE FUNCTION steward.purge_archive() RETURNS SETOF text
    LANGUAGE c AS 'MODULE_PATHNAME', 'purge_archive_wrapper';
COMMENT ON FUNCTION steward.purge_archive() IS 'Removes the archive files whose last record is older than the offline term, each noted in the trail before, and returns their names. To be called daily. 58030 if a file cannot be removed. Callers as steward.protect.';

CREATE FUNCTION steward.chain_origin(OUT ledger uuid, OUT system_identifier text, OUT first_id bigint, OUT last_id bigint,
    OUT cut_hash bytea, OUT heartbeat interval) RETURNS SETOF record
    LANGUAGE c AS 'MODULE_PATHNAME', 'chain_origin_wrapper';
COMMENT ON FUNCTION steward.chain_origin() IS 'What a verifier outside the database must know of the chain: one row, none before the chain begins. The first link is bound to ledger and system_identifier; first_id and last_id are the oldest and the newest record online (NULL for none); cut_hash is the hash of the last archived one, NULL if nothing was archived or no PRUNE record confirms it; heartbeat is how long the chain may stand still. 42501 without the capability audit.';

CREATE FUNCTION steward.export_chain(from_id bigint, max_records int DEFAULT 10000, OUT id bigint, OUT record bytea,
    OUT prev_hash bytea, OUT hash bytea) RETURNS SETOF record
    LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'export_chain_wrapper';
COMMENT ON FUNCTION steward.export_chain(bigint, int) IS 'The stored records from an id on, in order, as many as asked for but not many more than 16 MiB; ask again from the last id + 1 until no row comes. For steward-witness. 22023 unless max_records is 1 to 100000; 42501 without the capability audit.';

REVOKE ALL ON FUNCTION steward.set_retention(interval, interval, bigint, interval, interval), steward.archive_audit(timestamptz),
    steward.purge_archive(), steward.chain_origin(), steward.export_chain(bigint, int) FROM PUBLIC;
