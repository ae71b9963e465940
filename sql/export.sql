-- How many rows a role may read from protected tables.

CREATE TABLE steward.export_limit (
    role               regrole PRIMARY KEY,
    rows_per_statement bigint CHECK (rows_per_statement > 0),
    rows_per_hour      bigint CHECK (rows_per_hour > 0),
    allow_copy         boolean NOT NULL DEFAULT false
);
COMMENT ON TABLE steward.export_limit IS 'How many rows of protected tables a role may read, by statement and by person within an hour; NULL: no limit. It holds for the role, its members, and logins that put it on; of several the strictest counts. Written by steward.set_export_limit and steward.drop_export_limit only.';
REVOKE ALL ON steward.export_limit FROM PUBLIC;
SELECT pg_catalog.pg_extension_config_dump('steward.export_limit', '');

INSERT INTO steward.form (name, line, field, type, required, choices, label_zh, label_en, installed) VALUES
    ('export', 1, 'columns',   'text',   true,  NULL, '导出字段', 'columns of protected tables that are read, those of conditions too: phone, student.phone or app.student.phone', true),
    ('export', 2, 'filter',    'text',   true,  NULL, '筛选条件', 'which rows are exported', true),
    ('export', 3, 'rows',      'count',  true,  NULL, '行数', 'how many rows of protected tables the whole run may read', true),
    ('export', 4, 'recipient', 'text',   true,  NULL, '接收方', 'who gets them', true),
    ('export', 5, 'format',    'choice', false, '{csv,text,xlsx,pdf,json,other}', '文件格式', 'format', true),
    ('export', 6, 'reason',    'text',   true,  NULL, '导出原因', 'why', true),
    ('export', 7, 'single_use', 'boolean', false, NULL, '仅限一次', 'whether it is run once, which it is unless this says false', true),
    ('export', 8, 'filter_digest', 'text', false, NULL, '筛选条件摘要', 'SHA-256 of what chooses the rows of the script: filled in, and compared where it is given', true);
INSERT INTO steward.form_policy (form, demanded, sign_offs) VALUES ('export', false, 1);

CREATE FUNCTION steward.set_export_limit(role regrole, rows_per_statement bigint, rows_per_hour bigint, allow_copy boolean DEFAULT false) RETURNS void
    LANGUAGE c AS 'MODULE_PATHNAME', 'set_export_limit_wrapper';
COMMENT ON FUNCTION steward.set_export_limit(regrole, bigint, bigint, boolean) IS 'Limits how many rows of protected tables a role reads: by one statement with everything that it calls, or one cursor, and by one person in an hour, over all sessions; NULL: no limit. What the executor reads is counted, not what reaches the client; a rollback takes nothing off. Without allow_copy neither COPY TO a table nor of a query. What is more is filed with the form export and run in an armed session: columns that the form does not list and rows beyond its number are refused there, whatever the role''s limits, and the records of the run name the recipient. 22023 for limits below 1. Callers as steward.set_permission.';

CREATE FUNCTION steward.drop_export_limit(role regrole) RETURNS void
    LANGUAGE c AS 'MODULE_PATHNAME', 'drop_export_limit_wrapper';
COMMENT ON FUNCTION steward.drop_export_limit(regrole) IS 'Removes the limits of a role. 42704 without any. Callers as steward.set_export_limit.';

REVOKE ALL ON FUNCTION steward.set_export_limit(regrole, bigint, bigint, boolean), steward.drop_export_limit(regrole) FROM PUBLIC;
