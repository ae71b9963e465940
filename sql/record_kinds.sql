-- The kinds of records that the manual and the commitments ask for. Everything here is data: none of it is enforced as
-- installed, since nobody would have passed an exam on the first day.

INSERT INTO steward.record_kind (name, label_zh, label_en, subject, recorders, confirm, valid_for, valid_until, counts_if, least,
        needed_by, needed_subjects, suspends, keep_for, remind_days, visible, requirement, installed) VALUES
    ('contact', '应急联系人', 'emergency contact', 'object', '{configure,audit}', false, '1 year', NULL, '{}', '{}', '{}', '{commander,technical,security}', '{}', NULL, '{90,30,7}', true, '88', true),
    ('duty', '值班', 'duty', 'object', '{configure,break_glass}', false, NULL, 'until', '{}', '{}', '{}', '{}', '{}', NULL, '{}', true, '146', true),
    ('duty_description', '岗位职责', 'duties of a post', 'object', '{configure}', true, '1 year', NULL, '{}', '{}', '{}', '{}', '{}', NULL, '{90,30,7}', true, '118, 164', true),
    ('rules_of_use', '使用规范承诺', 'rules of use accepted', 'person', '{self}', false, NULL, NULL, '{}', '{}', '{*}', '{}', '{}', NULL, '{90,30,7}', false, '118', true),
    ('identity_evidence', '身份核验', 'identity verified', 'person', '{configure}', true, NULL, 'valid_until', '{}', '{}', '{}', '{}', '{}', NULL, '{90,30,7}', false, '171', true),
    ('training_new', '新员工培训', 'training of new staff', 'person', '{configure,audit}', true, NULL, NULL, '{}', '{"hours": 4}', '{region_admin,reviewer,ops,security_officer,teacher}', '{}', '{apply,approve}', NULL, '{90,30,7}', false, '89', true),
    ('training', '年度复训', 'yearly training', 'person', '{configure,audit}', true, '1 year', NULL, '{}', '{"hours": 2}', '{region_admin,reviewer,ops,security_officer,teacher}', '{}', '{}', NULL, '{90,30,7}', false, '90', true),
    ('exam', '操作规范考试', 'yearly exam', 'person', '{configure,audit}', true, '1 year', NULL, '{"result": "passed"}', '{}', '{region_admin,reviewer,ops,security_officer,teacher}', '{}', '{apply,approve}', NULL, '{90,30,7}', false, '91, 93', true),
    ('drill', '应急演练', 'emergency drill', 'object', '{configure,break_glass}', true, '6 months', NULL, '{"result": "success"}', '{}', '{}', '{emergency}', '{}', NULL, '{90,30,7}', false, '92, 146', true),
    ('backup', '每日备份', 'backup', 'object', '{ops,service,configure}', false, '26 hours', NULL, '{}', '{}', '{}', '{full}', '{}', '30 days', '{}', false, '82, 84, 119', true),
    ('off_site_backup', '异地备份', 'off-site backup', 'object', '{ops,service,configure}', false, '26 hours', NULL, '{}', '{}', '{}', '{full}', '{}', '1 year', '{}', false, '83, 84', true),
    ('restore_drill', '恢复演练', 'restore drill', 'object', '{ops,configure}', true, '6 months', NULL, '{"result": "success"}', '{}', '{}', '{restore}', '{}', NULL, '{90,30,7}', false, '119, 152', true),
    ('plan', '应急预案', 'plan', 'object', '{configure}', true, '1 year', NULL, '{}', '{}', '{}', '{emergency}', '{}', NULL, '{90,30,7}', true, '111', true),
    ('procedure', '操作规程', 'procedure', 'object', '{configure}', true, '1 year', NULL, '{}', '{}', '{}', '{backup,change}', '{}', NULL, '{90,30,7}', true, '111, 118', true),
    ('assessment', '安全评估', 'security assessment', 'object', '{configure,audit}', true, '1 year', NULL, '{}', '{}', '{}', '{database}', '{}', NULL, '{90,30,7}', false, '110', true),
    ('patch', '漏洞修复', 'patching', 'object', '{ops,configure}', true, '3 months', NULL, '{}', '{}', '{}', '{server}', '{}', NULL, '{30,7}', false, '110, 117', true),
    ('release', '版本发布', 'release', 'object', '{configure,ops}', true, NULL, NULL, '{}', '{}', '{}', '{}', '{}', NULL, '{}', true, '117, 149', true),
    ('migration', '数据迁移', 'data migration', 'object', '{configure,ops}', true, NULL, NULL, '{}', '{}', '{}', '{}', '{}', NULL, '{}', false, '114', true),
    ('certificate', '证书', 'certificate', 'object', '{configure,ops}', false, NULL, 'valid_until', '{}', '{}', '{}', '{}', '{}', NULL, '{90,30,7}', false, '183', true),
    ('authorization_agreement', '授权协议', 'authorisation agreement', 'object', '{configure}', true, NULL, 'valid_until', '{}', '{}', '{}', '{}', '{}', NULL, '{90,30,7}', false, '158, 174', true),
    ('outbound_copy', '数据副本', 'copy outside the database', 'object', '{configure}', true, '1 year', NULL, '{}', '{}', '{}', '{}', '{}', NULL, '{90,30,7}', false, '193', true),
    ('audit_report', '审计报告', 'audit report', 'object', '{audit}', true, '1 month', NULL, '{}', '{}', '{}', '{monthly}', '{}', NULL, '{7}', false, '187', true),
    ('outage', '服务中断', 'outage', 'object', '{ops,configure}', true, NULL, NULL, '{}', '{}', '{}', '{}', '{}', NULL, '{}', false, '152', true);

INSERT INTO steward.form (name, line, field, type, required, choices, label_zh, label_en, installed) VALUES
    ('contact', 1, 'name', 'text', true, NULL, '姓名', 'name', true),
    ('contact', 2, 'phone', 'text', true, NULL, '电话', 'telephone', true),
    ('contact', 3, 'other_phone', 'text', false, NULL, '备用电话', 'another telephone', true),
    ('duty', 1, 'person', 'person', true, NULL, '值班人', 'who', true),
    ('duty', 2, 'from', 'timestamptz', true, NULL, '开始时间', 'from when', true),
    ('duty', 3, 'until', 'timestamptz', true, NULL, '结束时间', 'until when', true),
    ('duty', 4, 'phone', 'text', true, NULL, '电话', 'telephone', true),
    ('duty_description', 1, 'duties', 'text', true, NULL, '职责', 'duties', true),
    ('duty_description', 2, 'document', 'text', false, NULL, '文件', 'document', true),
    ('rules_of_use', 1, 'version', 'text', true, NULL, '版本', 'version of the rules', true),
    ('identity_evidence', 1, 'type', 'choice', true, '{government_system,business_licence,id_card,staff_register}', '核验方式', 'what shows who it is', true),
    ('identity_evidence', 2, 'reference', 'text', true, NULL, '凭证编号', 'where it is kept; never the number of a card', true),
    ('identity_evidence', 3, 'valid_until', 'timestamptz', true, NULL, '有效期至', 'until when; infinity: no end', true),
    ('training_new', 1, 'hours', 'count', true, NULL, '学时', 'hours; 2 policy, 1 practice, 1 emergencies', true),
    ('training_new', 2, 'topic', 'text', true, NULL, '内容', 'what was taught', true),
    ('training', 1, 'hours', 'count', true, NULL, '学时', 'hours', true),
    ('training', 2, 'topic', 'text', true, NULL, '内容', 'what was taught', true),
    ('exam', 1, 'score', 'count', true, NULL, '成绩', 'score', true),
    ('exam', 2, 'result', 'choice', true, '{passed,failed}', '结果', 'result', true),
    ('exam', 3, 'paper', 'text', false, NULL, '试卷', 'which paper', true),
    ('drill', 1, 'scenario', 'text', true, NULL, '演练场景', 'scenario', true),
    ('drill', 2, 'participants', 'text', true, NULL, '参加人员', 'who took part', true),
    ('drill', 3, 'result', 'choice', true, '{success,failure}', '结果', 'result', true),
    ('drill', 4, 'findings', 'text', true, NULL, '发现的问题', 'what was found', true),
    ('restore_drill', 1, 'backup', 'text', true, NULL, '备份标识', 'label of the backup', true),
    ('restore_drill', 2, 'began_at', 'timestamptz', true, NULL, '开始时间', 'when the restore began', true),
    ('restore_drill', 3, 'ready_at', 'timestamptz', true, NULL, '恢复时间', 'when the copy answered', true),
    ('restore_drill', 4, 'verified', 'text', true, NULL, '验证方式', 'how the data were compared', true),
    ('restore_drill', 5, 'result', 'choice', true, '{success,failure}', '结果', 'result', true),
    ('plan', 1, 'version', 'text', true, NULL, '版本', 'version', true),
    ('plan', 2, 'document', 'text', true, NULL, '文件', 'where it is', true),
    ('plan', 3, 'digest', 'text', false, NULL, '摘要', 'SHA-256 of the document', true),
    ('procedure', 1, 'version', 'text', true, NULL, '版本', 'version', true),
    ('procedure', 2, 'document', 'text', true, NULL, '文件', 'where it is', true),
    ('procedure', 3, 'digest', 'text', false, NULL, '摘要', 'SHA-256 of the document', true),
    ('assessment', 1, 'assessor', 'text', true, NULL, '评估单位', 'who assessed', true),
    ('assessment', 2, 'findings', 'count', true, NULL, '发现问题数', 'findings', true),
    ('assessment', 3, 'open', 'count', true, NULL, '未整改数', 'findings still open', true),
    ('assessment', 4, 'report', 'text', true, NULL, '报告', 'where the report is', true),
    ('patch', 1, 'version', 'text', true, NULL, '版本', 'version after it', true),
    ('patch', 2, 'fixes', 'text', true, NULL, '修复内容', 'what it fixes', true),
    ('patch', 3, 'op_no', 'text', false, NULL, '操作编号', 'operation', true),
    ('release', 1, 'change_log', 'text', true, NULL, '变更日志', 'what changed', true),
    ('release', 2, 'test_evidence', 'text', true, NULL, '测试证据', 'what shows that it was tested', true),
    ('release', 3, 'gray_release', 'text', true, NULL, '灰度发布', 'who had it first, and how long', true),
    ('release', 4, 'notice', 'text', true, NULL, '用户通知', 'how users were told', true),
    ('release', 5, 'op_no', 'text', false, NULL, '操作编号', 'operation', true),
    ('migration', 1, 'op_no', 'text', true, NULL, '操作编号', 'operation', true),
    ('migration', 2, 'rows_before', 'count', true, NULL, '迁移前行数', 'rows before', true),
    ('migration', 3, 'rows_after', 'count', true, NULL, '迁移后行数', 'rows after', true),
    ('migration', 4, 'digest_before', 'text', true, NULL, '迁移前摘要', 'digest before', true),
    ('migration', 5, 'digest_after', 'text', true, NULL, '迁移后摘要', 'digest after', true),
    ('certificate', 1, 'issuer', 'text', true, NULL, '颁发者', 'issuer', true),
    ('certificate', 2, 'valid_until', 'timestamptz', true, NULL, '有效期至', 'until when', true),
    ('certificate', 3, 'fingerprint', 'text', false, NULL, '指纹', 'SHA-256 of the certificate', true),
    ('authorization_agreement', 1, 'version', 'text', true, NULL, '版本', 'version', true),
    ('authorization_agreement', 2, 'purpose', 'text', true, NULL, '使用目的', 'what the data are used for', true),
    ('authorization_agreement', 3, 'limits', 'text', true, NULL, '限制', 'what they are not used for', true),
    ('authorization_agreement', 4, 'valid_until', 'timestamptz', true, NULL, '有效期至', 'until when', true),
    ('outbound_copy', 1, 'system', 'choice', true, '{cache,search_engine,replica,file,other}', '系统', 'what keeps it', true),
    ('outbound_copy', 2, 'columns', 'text', true, NULL, '数据项', 'which tables and columns', true),
    ('outbound_copy', 3, 'masked', 'boolean', true, NULL, '已脱敏', 'masked', true),
    ('outbound_copy', 4, 'purpose', 'text', true, NULL, '用途', 'what for', true),
    ('audit_report', 1, 'from', 'timestamptz', true, NULL, '起始', 'from when', true),
    ('audit_report', 2, 'until', 'timestamptz', true, NULL, '截止', 'until when', true),
    ('audit_report', 3, 'digest', 'text', true, NULL, '摘要', 'SHA-256 of the report', true),
    ('audit_report', 4, 'location', 'text', true, NULL, '存放位置', 'where it is kept', true),
    ('outage', 1, 'from', 'timestamptz', true, NULL, '开始时间', 'from when', true),
    ('outage', 2, 'until', 'timestamptz', true, NULL, '恢复时间', 'until when', true),
    ('outage', 3, 'cause', 'text', true, NULL, '原因', 'cause', true),
    ('outage', 4, 'incident_no', 'text', false, NULL, '事件编号', 'number of the incident', true);

-- A copy of a backup has the fields of a backup.
INSERT INTO steward.form (name, line, field, type, required, choices, label_zh, label_en, installed)
    SELECT kind.name, f.* FROM (VALUES ('backup'), ('off_site_backup')) kind (name), (VALUES
        (1, 'label', 'text', true, NULL::text[], '备份标识', 'label', true),
        (2, 'location', 'text', true, NULL, '存放位置', 'where it is kept', true),
        (3, 'bytes', 'count', true, NULL, '大小', 'bytes', true),
        (4, 'manifest_digest', 'text', true, NULL, '清单摘要', 'SHA-256 of the manifest', true),
        (5, 'system_identifier', 'text', true, NULL, '集群标识', 'of which cluster; found, not typed', true),
        (6, 'start_lsn', 'text', true, NULL, '起始LSN', 'where it begins', true),
        (7, 'stop_lsn', 'text', true, NULL, '结束LSN', 'where it is consistent', true),
        (8, 'started_at', 'timestamptz', true, NULL, '开始时间', 'when it began', true),
        (9, 'stopped_at', 'timestamptz', true, NULL, '结束时间', 'when it ended', true)) f;

CREATE VIEW steward.contact_status WITH (security_barrier) AS
    SELECT s AS role, r.fields ->> 'name' AS name, r.fields ->> 'phone' AS phone, r.valid_until,
        coalesce(r.valid_until > clock_timestamp(), false) AS complete
    FROM steward.record_kind k, unnest(k.needed_subjects) s
    LEFT JOIN steward._record_last l ON l.kind = 'contact' AND l.subject = s LEFT JOIN steward._record r ON r.id = l.id
    WHERE k.name = 'contact' AND (SELECT steward.current_person()) IS NOT NULL;
COMMENT ON VIEW steward.contact_status IS 'Whom to call in an emergency: commander, technical and security (manual 7.2), each confirmed within the last year (complete). For registered persons.';

CREATE VIEW steward.on_duty WITH (security_barrier) AS
    SELECT r.subject AS duty, r.fields ->> 'person' AS person, r.fields ->> 'phone' AS phone,
        (r.fields ->> 'from')::timestamptz AS "from", r.valid_until AS until
    FROM steward._record r
    WHERE r.kind = 'duty' AND r.withdrawn_at IS NULL AND (r.fields ->> 'from')::timestamptz <= clock_timestamp()
        AND r.valid_until > clock_timestamp() AND (SELECT steward.current_person()) IS NOT NULL;
COMMENT ON VIEW steward.on_duty IS 'Who is on duty now. For registered persons.';

CREATE VIEW steward.restore_time WITH (security_barrier) AS
    SELECT id, subject, fields ->> 'backup' AS backup, (fields ->> 'began_at')::timestamptz AS began_at,
        (fields ->> 'ready_at')::timestamptz AS ready_at, fields ->> 'result' AS result, confirmed_by,
        round(extract(epoch FROM (fields ->> 'ready_at')::timestamptz - (fields ->> 'began_at')::timestamptz) / 60, 1) AS minutes,
        fields ->> 'result' = 'success' AND confirmed_at IS NOT NULL
            AND (fields ->> 'ready_at')::timestamptz - (fields ->> 'began_at')::timestamptz <= interval '30 minutes' AS in_time
    FROM steward.record WHERE kind = 'restore_drill' AND status <> 'withdrawn';
COMMENT ON VIEW steward.restore_time IS 'Restore drills with the minutes they took, computed. in_time: successful, confirmed, and within 30 minutes. Readers as steward.record.';

REVOKE ALL ON steward.contact_status, steward.on_duty, steward.restore_time FROM PUBLIC;
GRANT SELECT ON steward.contact_status, steward.on_duty, steward.restore_time TO PUBLIC;
