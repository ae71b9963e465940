-- The manual's data-security policy for this schema: what is protected, which columns are sensitive, and the tiers
-- that do not come with the extension. Built in and not repeated here: bulk_write (50 rows), sensitive_column,
-- structure, privilege, account, config.
\set ON_ERROR_STOP on

CREATE EXTENSION IF NOT EXISTS pg_steward;

SELECT steward.protect('app.student');
SELECT steward.protect('app.guardian');
SELECT steward.protect('app.card');
SELECT steward.protect('app.card_order');
SELECT steward.protect('app.card_transaction');
SELECT steward.protect('app.users');

-- Data classes. id_card, address and guardian_contact are the manual's specially sensitive data (1.1).
SECURITY LABEL FOR pg_steward ON COLUMN app.student.name       IS 'name';
SECURITY LABEL FOR pg_steward ON COLUMN app.student.birth_date IS 'birth_date';
SECURITY LABEL FOR pg_steward ON COLUMN app.student.id_card    IS 'id_card';
SECURITY LABEL FOR pg_steward ON COLUMN app.student.phone      IS 'phone';
SECURITY LABEL FOR pg_steward ON COLUMN app.student.address    IS 'address';
SECURITY LABEL FOR pg_steward ON COLUMN app.guardian.name      IS 'name';
SECURITY LABEL FOR pg_steward ON COLUMN app.guardian.phone     IS 'guardian_contact';
SECURITY LABEL FOR pg_steward ON COLUMN app.users.person_name  IS 'name';
SECURITY LABEL FOR pg_steward ON COLUMN app.users.phone        IS 'phone';

-- 新生录入、注册报到
SELECT steward.set_rule('enrolment', 'important',
    commands => ARRAY['INSERT', 'COPY FROM', 'MERGE'], relation_pattern => '^app\.student$',
    note => '新生录入、注册报到（手册 1.1 重要操作）');

-- 账号创建和权限分配(非管理员): the rows behind the platform's own login page
SELECT steward.set_rule('platform_account', 'important',
    commands => ARRAY['WRITE'], relation_pattern => '^app\.users$',
    note => '平台账号创建、变更和停用（手册 1.1 重要操作）');

-- Identity data of a pupil must not vanish unseen; the cascade takes the guardians along.
SELECT steward.set_rule('student_removal', 'important',
    commands => ARRAY['DELETE', 'MERGE'], relation_pattern => '^app\.(student|guardian)$',
    note => '删除学生或监护人档案（手册 2.1：教师禁止删除记录）');

-- Money moves by the platform's own purchases and refunds; by any other hand it is looked at afterwards.
SELECT steward.set_rule('card_balance', 'important',
    commands => ARRAY['UPDATE'], relation_pattern => '^app\.card$', columns => ARRAY['balance']::name[],
    except_roles => ARRAY['ecard_service']::regrole[],
    note => '人工调整卡内余额');

-- Card replacement (app.card_order, card status), queries, reports and changes of data that is not sensitive
-- need no rule: they are normal by the built-in READ and WRITE rules.
