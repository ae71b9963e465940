-- How long records are kept: online in the chain, offline in archive files. Written by the functions below only.
CREATE TABLE steward.retention_policy (
    single          boolean PRIMARY KEY DEFAULT true CHECK (single),
    online          interval NOT NULL DEFAULT '30 days',
    offline         interval NOT NULL DEFAULT '1 year',
    segment_records bigint NOT NULL DEFAULT 5000000 CHECK (segment_records > 0),
    segment_age     interval NOT NULL DEFAULT '1 day' CHECK (segment_age > '0'),
    CHECK (online > '0'),
    -- The legal minimum, whatever anybody sets: MLPS 2.0, and article 21 of the Cybersecurity Law.
    CHECK (offline >= '6 months' AND offline >= online)
);
COMMENT ON TABLE steward.retention_policy IS 'How long audit records are kept; one row. Written by steward.set_retention only.';
COMMENT ON COLUMN steward.retention_policy.online IS 'A record may be archived when it is older than this.';
COMMENT ON COLUMN steward.retention_policy.offline IS 'An archive file may be removed when its last record is older than this; six months at least.';
COMMENT ON COLUMN steward.retention_policy.segment_records IS 'A segment of the chain is closed when it holds as many records,';
COMMENT ON COLUMN steward.retention_policy.segment_age IS '… or when its first record is older than this.';
INSERT INTO steward.retention_policy DEFAULT VALUES;

REVOKE ALL ON steward.retention_policy FROM PUBLIC;
GRANT SELECT ON steward.retention_policy TO PUBLIC;
