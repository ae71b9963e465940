-- One register for all that the manual wants on record: contacts, training, exams, drills, backups, certificates, plans.
-- What a kind asks for is data; a record is never changed, only confirmed once and withdrawn with a reason.

CREATE TABLE steward.record_kind (
    name            text PRIMARY KEY CHECK (name ~ '^[a-z][a-z0-9_]{0,62}$' AND name NOT IN ('role_grant', 'operation', 'incident')),
    label_zh        text NOT NULL,
    label_en        text NOT NULL,
    subject         text NOT NULL CHECK (subject IN ('person', 'object')),
    recorders       text[] NOT NULL CHECK (cardinality(recorders) > 0),
    confirm         boolean NOT NULL DEFAULT false,
    valid_for       interval CHECK (valid_for > interval '0'),
    valid_until     text,
    counts_if       jsonb NOT NULL DEFAULT '{}',
    least           jsonb NOT NULL DEFAULT '{}',
    needed_by       text[] NOT NULL DEFAULT '{}',
    needed_subjects text[] NOT NULL DEFAULT '{}',
    suspends        text[] NOT NULL DEFAULT '{}' CHECK (suspends <@ ARRAY['apply', 'approve', 'witness', 'break_glass']),
    enforced        boolean NOT NULL DEFAULT false,
    keep_for        interval CHECK (keep_for > interval '0'),
    remind_days     int[] NOT NULL DEFAULT '{90,30,7}' CHECK (0 < ALL (remind_days)),
    visible         boolean NOT NULL DEFAULT false,
    requirement     text NOT NULL,
    installed       boolean NOT NULL DEFAULT false,
    CHECK (valid_for IS NULL OR valid_until IS NULL),
    CHECK (needed_by = '{}' OR subject = 'person'),
    CHECK (needed_subjects = '{}' OR subject = 'object'),
    -- What takes capabilities away is not left to one person's word.
    CHECK (suspends = '{}' OR subject = 'person' AND confirm)
);
COMMENT ON TABLE steward.record_kind IS 'The kinds of records. The fields of each are those of the form of its name (steward.form). Before steward.activate() an administrator may add kinds and their fields; afterwards steward.set_record_kind changes who needs a kind, for how long it is valid and whether it is enforced.';
COMMENT ON COLUMN steward.record_kind.subject IS 'person: a registered person; object: anything that has a name.';
COMMENT ON COLUMN steward.record_kind.recorders IS 'Capabilities and posts that may add records of the kind; *: everybody who is registered; self: everybody, about themselves.';
COMMENT ON COLUMN steward.record_kind.confirm IS 'A record counts once another person, not its subject, has confirmed it with steward.confirm_record.';
COMMENT ON COLUMN steward.record_kind.valid_for IS 'From when it was done; NULL: no end, or that of valid_until.';
COMMENT ON COLUMN steward.record_kind.valid_until IS 'The field that says until when a record is valid.';
COMMENT ON COLUMN steward.record_kind.counts_if IS 'What its fields must say for the record to be a good one: of a subject''s records the last decides, good or not.';
COMMENT ON COLUMN steward.record_kind.least IS 'The least value of fields that count something.';
COMMENT ON COLUMN steward.record_kind.needed_by IS 'Posts whose persons all need a valid record; *: every post but service.';
COMMENT ON COLUMN steward.record_kind.needed_subjects IS 'Objects that must all have a valid record.';
COMMENT ON COLUMN steward.record_kind.suspends IS 'Capabilities that a person who needs a valid record does not have without one, while the kind is enforced.';
COMMENT ON COLUMN steward.record_kind.keep_for IS 'From when it was done; before that a record cannot be withdrawn.';
COMMENT ON COLUMN steward.record_kind.remind_days IS 'So many days before its end steward.reminder shows a record; empty: never.';
COMMENT ON COLUMN steward.record_kind.visible IS 'Everybody who is registered sees its records.';

CREATE TABLE steward._record (
    id               bigint PRIMARY KEY CHECK (id > 0),
    kind             text NOT NULL,
    subject          text NOT NULL CHECK (subject <> ''),
    fields           jsonb NOT NULL CHECK (jsonb_typeof(fields) = 'object'),
    done_at          timestamptz NOT NULL CHECK (isfinite(done_at)),
    valid_until      timestamptz,
    recorded_by      text NOT NULL,
    recorded_at      timestamptz NOT NULL,
    confirmed_by     text CHECK (confirmed_by <> recorded_by),
    confirmed_at     timestamptz,
    withdrawn_by     text,
    withdrawn_at     timestamptz,
    withdrawn_reason text,
    digest           text NOT NULL,
    CHECK ((confirmed_by IS NULL) = (confirmed_at IS NULL)),
    CHECK (num_nonnulls(withdrawn_by, withdrawn_at, withdrawn_reason) IN (0, 3))
);
CREATE INDEX _record_deciding ON steward._record (kind, subject, done_at DESC, id DESC) WHERE withdrawn_at IS NULL;
COMMENT ON TABLE steward._record IS 'Records. Written by steward.add_record, confirm_record and withdraw_record only; never deleted. Read through steward.record.';
COMMENT ON COLUMN steward._record.valid_until IS 'NULL: no end.';
COMMENT ON COLUMN steward._record.digest IS 'SHA-256 of what was recorded; the same digest is in the audit chain. The daily check register compares each row with its digest, and with what the chain says of its making, confirmation and withdrawal, as far as those records are online: of what is archived it does not notice that the row with the highest number is gone, that a row was changed together with its digest, or who confirmed or withdrew it.';

CREATE FUNCTION steward._record_digest(kind text, subject text, fields jsonb, done_at timestamptz, valid_until timestamptz,
    recorded_by text, recorded_at timestamptz) RETURNS text
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT encode(sha256(convert_to(jsonb_build_array(kind, subject, fields, extract(epoch FROM done_at)::text,
        extract(epoch FROM valid_until)::text, recorded_by, extract(epoch FROM recorded_at)::text)::text, 'UTF8')), 'hex')
$$;
COMMENT ON FUNCTION steward._record_digest IS 'The digest of a record.';

-- Of each subject the record that decides: the last one that counts at all.
CREATE VIEW steward._record_last AS
    SELECT DISTINCT ON (r.kind, r.subject) r.kind, r.subject, r.id, r.done_at, r.fields @> k.counts_if AS good, r.valid_until
    FROM steward._record r JOIN steward.record_kind k ON k.name = r.kind
    WHERE r.withdrawn_at IS NULL AND (r.confirmed_at IS NOT NULL OR NOT k.confirm)
    ORDER BY r.kind, r.subject, r.done_at DESC, r.id DESC;
COMMENT ON VIEW steward._record_last IS 'The record that decides whether a subject has a valid one of a kind.';

CREATE VIEW steward._record_need AS
    SELECT k.name AS kind, p.name AS subject FROM steward.record_kind k JOIN steward.person p
            ON p.post = ANY (k.needed_by) OR '*' = ANY (k.needed_by) AND p.post <> 'service'
        WHERE p.suspended_at IS NULL AND coalesce(p.valid_until, 'infinity') > clock_timestamp()
    UNION ALL SELECT k.name, s FROM steward.record_kind k, unnest(k.needed_subjects) s;
COMMENT ON VIEW steward._record_need IS 'Who and what needs a valid record of which kind.';

-- Until when each capability holds that hangs on a record, for everybody who needs it.
CREATE VIEW steward._capability_term AS
    SELECT n.subject AS person, unnest(k.suspends) AS capability, k.name AS kind,
        CASE WHEN l.good THEN coalesce(l.valid_until, 'infinity') ELSE '-infinity' END AS until
    FROM steward.record_kind k JOIN steward._record_need n ON n.kind = k.name
    LEFT JOIN steward._record_last l ON l.kind = n.kind AND l.subject = n.subject
    WHERE k.enforced AND k.suspends <> '{}';
COMMENT ON VIEW steward._capability_term IS 'Until when a person''s capabilities hold that hang on records. Read with the policy.';

CREATE VIEW steward.record WITH (security_barrier) AS
    SELECT r.id, r.kind, r.subject, r.fields, r.done_at, r.valid_until,
        CASE WHEN r.withdrawn_at IS NOT NULL THEN 'withdrawn'
            WHEN k.confirm AND r.confirmed_at IS NULL THEN 'unconfirmed'
            WHEN l.id IS DISTINCT FROM r.id THEN 'superseded'
            WHEN NOT l.good THEN 'failed'
            WHEN r.valid_until <= clock_timestamp() THEN 'expired' ELSE 'valid' END AS status,
        r.recorded_by, r.recorded_at, r.confirmed_by, r.confirmed_at, r.withdrawn_by, r.withdrawn_at, r.withdrawn_reason, r.digest,
        r.digest = steward._record_digest(r.kind, r.subject, r.fields, r.done_at, r.valid_until, r.recorded_by, r.recorded_at) AS intact
    FROM steward._record r LEFT JOIN steward.record_kind k ON k.name = r.kind
    LEFT JOIN steward._record_last l ON l.kind = r.kind AND l.subject = r.subject
    WHERE (SELECT steward._may_see_records()) OR k.visible AND (SELECT steward.current_person()) IS NOT NULL
        OR (SELECT steward.current_person()) IN (r.recorded_by, r.confirmed_by)
        OR k.subject = 'person' AND r.subject = (SELECT steward.current_person());
COMMENT ON VIEW steward.record IS 'The records. status: unconfirmed (another person has to), valid, failed (its fields do not say what the kind counts), expired, superseded by a later one of the same subject, withdrawn. intact: the row still has its digest, which is in the audit chain too. Everybody sees those that they are about or take part in, registered persons those of visible kinds, superusers and persons with the capability audit, approve or configure all.';

CREATE FUNCTION steward.add_record(kind text, subject text, fields jsonb DEFAULT '{}', done_at timestamptz DEFAULT NULL) RETURNS bigint
    LANGUAGE c AS 'MODULE_PATHNAME', 'add_record_wrapper';
COMMENT ON FUNCTION steward.add_record IS 'Puts something on record, and returns its number. kind: of steward.record_kind; fields: those of the form of that name (steward.form). done_at: when it was done, NULL now. Until when it is valid is computed. Errors: 42704 unknown kind, or subject that is no person; 22023 a field is missing or wrong, it lies in the future, or the kind is one of backups (steward.register_backup); 55000 it is not the client''s whole statement (SELECT steward.add_record(…), without BEGIN: others wait for the number that it takes), or others hold the register for more than 3 seconds; 42501 somebody else records this kind, nobody stands behind the login, or for kinds to be confirmed the client itself does not call it. Callers: steward.record_kind.recorders.';

CREATE FUNCTION steward.confirm_record(record_id bigint) RETURNS void
    LANGUAGE c AS 'MODULE_PATHNAME', 'confirm_record_wrapper';
COMMENT ON FUNCTION steward.confirm_record IS 'Confirms a record that another person has made about somebody or something else; only then it counts. Errors: 42704 no such record; 55000 confirmed or withdrawn, held by somebody else''s transaction for more than 3 seconds, or its kind takes no confirmation; 42501 one''s own, or about oneself. May be called by persons with the capability audit, approve or configure.';

CREATE FUNCTION steward.withdraw_record(record_id bigint, reason text) RETURNS void
    LANGUAGE c AS 'MODULE_PATHNAME', 'withdraw_record_wrapper';
COMMENT ON FUNCTION steward.withdraw_record IS 'Takes a record back; it stays, with the reason, and does not count any more. Errors: 42704 no such record; 22023 without a reason; 55000 withdrawn already, held by somebody else''s transaction for more than 3 seconds, or kept until a later day (steward.record_kind.keep_for: backups); 42501 about oneself, and persons who may neither record the kind nor have the capability audit or configure; what is confirmed only those who may confirm.';

CREATE FUNCTION steward.set_record_kind(name text, enforced boolean DEFAULT NULL, needed_by text[] DEFAULT NULL,
    needed_subjects text[] DEFAULT NULL, valid_for interval DEFAULT NULL, suspends text[] DEFAULT NULL) RETURNS void
    LANGUAGE c AS 'MODULE_PATHNAME', 'set_record_kind_wrapper';
COMMENT ON FUNCTION steward.set_record_kind IS 'Changes what a kind of records means; NULL keeps what was. enforced: without a valid record, who needs one lacks the capabilities of suspends (apply, approve, witness, break_glass). valid_for holds for records from now on. Errors: 42704 unknown kind or post; 22023 and 23514 for what makes no kind; 55000 the policy would demand what nobody can do; 42501 outside an approved operation once the policy is active (with as many approvals as the rules for PRIVILEGE demand). Callers as steward.protect.';

REVOKE ALL ON steward.record_kind, steward._record, steward._record_last, steward._record_need, steward._capability_term, steward.record FROM PUBLIC;
GRANT SELECT ON steward.record_kind, steward.record TO PUBLIC;
REVOKE ALL ON FUNCTION steward._record_digest, steward.add_record, steward.confirm_record, steward.withdraw_record, steward.set_record_kind FROM PUBLIC;
GRANT EXECUTE ON FUNCTION steward._record_digest, steward.add_record, steward.confirm_record, steward.withdraw_record TO PUBLIC;

CREATE TRIGGER make_way BEFORE INSERT ON steward.record_kind FOR EACH ROW EXECUTE FUNCTION steward._make_way('name');
SELECT pg_catalog.pg_extension_config_dump('steward.record_kind', '');
SELECT pg_catalog.pg_extension_config_dump('steward._record', '');
