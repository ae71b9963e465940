-- The checklists of the manual (9.1 and 9.2) as data: 22 boxes, which of them are demanded, and how an operation stands.

CREATE TABLE steward.checklist (
    list      text NOT NULL,
    line      int NOT NULL,
    stage     text NOT NULL CHECK (stage IN ('request', 'approve', 'execute', 'review')),
    box       text PRIMARY KEY CHECK (box <> ''),
    label_zh  text NOT NULL,
    label_en  text NOT NULL,
    filled_by text NOT NULL CHECK (filled_by IN ('person', 'system')),
    who       text CHECK (who IN ('applicant', 'approver', 'witness')),
    proof     text CHECK (proof IN ('applicant', 'second_person', 'ran_in_full', 'rows_as_expected', 'chained', 'no_failure',
        'window', 'pre_image', 'rollback_plan')),
    due       text NOT NULL CHECK (due IN ('approve', 'execute', 'review')),
    installed boolean NOT NULL DEFAULT false,
    UNIQUE (list, line),
    CHECK ((filled_by = 'system') = (proof IS NOT NULL)),
    CHECK (filled_by = 'system' OR who IS NOT NULL)
);
COMMENT ON TABLE steward.checklist IS 'The boxes of each checklist, in the order of line. Before steward.activate() an administrator may add lists of their own; afterwards nobody changes them. Which lists are demanded is in steward.checklist_policy.';
COMMENT ON COLUMN steward.checklist.stage IS 'Where the manual has the box.';
COMMENT ON COLUMN steward.checklist.due IS 'The call that is refused while the box is open: approve (confirm and execute too), execute, review.';
COMMENT ON COLUMN steward.checklist.who IS 'Who answers it. Of a box that the system fills: who answers where nothing proves it; NULL: only whoever reviews, with the reason.';
COMMENT ON COLUMN steward.checklist.proof IS 'The fact by which the system fills the box. applicant: the applicant may still apply. second_person: somebody else has confirmed and stands by. ran_in_full: the bytes that were approved have run to their end. rows_as_expected: exactly expected_rows in every run. chained: the records of all runs are in the audit chain. no_failure: no attempt failed or was rolled back. window: the run has a beginning and an end. pre_image: what the run changes is kept, or it does not run. rollback_plan: one was filed.';

INSERT INTO steward.checklist (list, line, stage, box, label_zh, label_en, filled_by, who, proof, due, installed) VALUES
    ('critical_operation',  1, 'request', 'purpose',             '操作目的明确', 'the purpose is clear', 'person', 'applicant', NULL, 'approve', true),
    ('critical_operation',  2, 'request', 'scope',               '影响范围确认', 'what is affected is known', 'person', 'applicant', NULL, 'approve', true),
    ('critical_operation',  3, 'request', 'applicant_right',     '申请人权限验证', 'the applicant has the right', 'system', NULL, 'applicant', 'approve', true),
    ('critical_operation',  4, 'approve', 'necessity',           '必要性评估', 'it is necessary', 'person', 'approver', NULL, 'approve', true),
    ('critical_operation',  5, 'approve', 'risk',                '风险评估', 'the risk was assessed', 'person', 'approver', NULL, 'approve', true),
    ('critical_operation',  6, 'approve', 'backup_plan',         '备份方案确认', 'the plan for a backup is sound', 'person', 'approver', NULL, 'approve', true),
    ('critical_operation',  7, 'execute', 'two_persons',         '双人确认(关键操作)', 'a second person confirmed', 'system', 'witness', 'second_person', 'execute', true),
    ('critical_operation',  8, 'execute', 'steps_as_planned',    '操作步骤按计划执行', 'the steps ran as planned', 'system', NULL, 'ran_in_full', 'review', true),
    ('critical_operation',  9, 'execute', 'result_verified',     '结果验证', 'the result was verified', 'system', 'witness', 'rows_as_expected', 'review', true),
    ('critical_operation', 10, 'review',  'records_kept',        '操作记录保存', 'the records are kept', 'system', NULL, 'chained', 'review', true),
    ('critical_operation', 11, 'review',  'people_told',         '相关人员通知', 'those concerned were told', 'person', 'applicant', NULL, 'review', true),
    ('critical_operation', 12, 'review',  'exceptions_handled',  '异常情况处理', 'exceptions were dealt with', 'system', 'applicant', 'no_failure', 'review', true),
    ('administration',  1, 'request', 'window',               '维护时间窗口确认', 'the maintenance window is set', 'system', 'applicant', 'window', 'execute', true),
    ('administration',  2, 'request', 'impact',               '影响范围评估', 'the impact was assessed', 'person', 'applicant', NULL, 'approve', true),
    ('administration',  3, 'request', 'backup_done',          '备份完成确认', 'there is a backup', 'system', 'applicant', 'pre_image', 'execute', true),
    ('administration',  4, 'request', 'rollback_ready',       '回滚方案准备', 'the way back is prepared', 'system', 'applicant', 'rollback_plan', 'approve', true),
    ('administration',  5, 'execute', 'as_planned',           '按计划执行', 'it ran as planned', 'system', NULL, 'ran_in_full', 'review', true),
    ('administration',  6, 'execute', 'each_step_confirmed',  '每步确认结果', 'the result of each step was confirmed', 'person', 'witness', NULL, 'review', true),
    ('administration',  7, 'execute', 'anomalies_noted',      '异常情况记录', 'anomalies were noted', 'system', 'applicant', 'no_failure', 'review', true),
    ('administration',  8, 'review',  'function_check',       '系统功能验证', 'the system works', 'person', 'applicant', NULL, 'review', true),
    ('administration',  9, 'review',  'performance_check',    '性能检查', 'it is as fast as before', 'person', 'applicant', NULL, 'review', true),
    ('administration', 10, 'review',  'archived',             '操作记录归档', 'the records are archived', 'system', NULL, 'chained', 'review', true);

CREATE TABLE steward.checklist_policy (
    tier     steward.tier NOT NULL,
    list     text NOT NULL,
    demanded boolean NOT NULL,
    rules    text[],
    PRIMARY KEY (tier, list)
);
COMMENT ON TABLE steward.checklist_policy IS 'Which checklists the operations of a tier must have filled in. Installed: none, since a call of steward.request, approve and execute alone would be refused; steward.activate() says so. Written by steward.set_checklist.';
COMMENT ON COLUMN steward.checklist_policy.rules IS 'Only operations whose rule is one of these; NULL: all.';
INSERT INTO steward.checklist_policy (tier, list, demanded, rules) VALUES
    ('critical',  'critical_operation', false, NULL),
    ('critical',  'administration',     false, '{structure,config,server_access,server_control}'),
    ('important', 'administration',     false, '{server_control}');

REVOKE ALL ON steward.checklist, steward.checklist_policy FROM PUBLIC;
GRANT SELECT ON steward.checklist, steward.checklist_policy TO PUBLIC;

CREATE TRIGGER make_way BEFORE INSERT ON steward.checklist_policy FOR EACH ROW EXECUTE FUNCTION steward._make_way('tier', 'list');
SELECT pg_catalog.pg_extension_config_dump('steward.checklist', 'WHERE NOT installed');
SELECT pg_catalog.pg_extension_config_dump('steward.checklist_policy', '');

CREATE VIEW steward.operation_checklist WITH (security_barrier) AS
    SELECT o.op_no, c.list, c.line, c.stage, c.box, c.label_zh, c.label_en, c.filled_by, c.who, c.due,
        e.answer, e.person AS answered_by, e.at AS answered_at, e.comment
    FROM steward.operation o
    JOIN steward.checklist_policy p ON p.demanded AND p.tier = o.tier AND (p.rules IS NULL OR p.rules && ((SELECT x.matched_rules FROM steward._operation x WHERE x.op_no = o.op_no) || o.rule))
    JOIN steward.checklist c ON c.list = p.list
    LEFT JOIN LATERAL (SELECT details ->> 'answer' AS answer, person, at, comment FROM steward._operation_event
        WHERE op_no = o.op_no AND event = 'ANSWER' AND details ->> 'box' = c.box ORDER BY n DESC LIMIT 1) e ON true
    WHERE o.origin = 'request';
COMMENT ON VIEW steward.operation_checklist IS 'The demanded boxes of each operation with their last answer; the others are in steward.operation_trail. answer NULL: open. answered_by NULL: the system, with the fact in comment. Everybody sees what belongs to the operations that they see.';
GRANT SELECT ON steward.operation_checklist TO PUBLIC;

CREATE FUNCTION steward.set_checklist(tier steward.tier, list text, demanded boolean) RETURNS void
    LANGUAGE c AS 'MODULE_PATHNAME', 'set_checklist_wrapper';
COMMENT ON FUNCTION steward.set_checklist(steward.tier, text, boolean) IS 'Whether operations of a tier must have a checklist filled in, those under way included. Errors: 42704 unknown list, 22023 missing argument, 42501 outside an approved operation once the policy is active. Callers as steward.protect; once the policy is active with as many approvals as the rules for PRIVILEGE demand.';

CREATE FUNCTION steward.answer(op_no text, box text, answer text, comment text DEFAULT NULL) RETURNS void
    LANGUAGE c AS 'MODULE_PATHNAME', 'answer_wrapper';
COMMENT ON FUNCTION steward.answer(text, text, text, text) IS 'Answers a box of an operation''s checklist, for good once its stage is over. answer: yes, no (leaves it open) or not_applicable; the last two with a comment. The answer is for the digest of the operation, in its trail and in the audit chain. Errors: 42501 somebody else''s box, or one that only a fact fills; 22023 unknown answer, comment missing; 42704 unknown operation or box; 55000 not demanded of this operation, not its time yet, or its stage is over. May be called by the person whose box it is: the applicant; an approver, each for themselves; the second person. Once a run waits for its review, persons who may review it answer no or not_applicable, with the reason, where nobody can fill a box any more: its person is suspended, its stage is over, or no fact proves it.';

REVOKE ALL ON FUNCTION steward.set_checklist(steward.tier, text, boolean), steward.answer(text, text, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION steward.answer(text, text, text, text) TO PUBLIC;
