-- A regional administrator's day: sensitive data and accounts. The post changes nothing alone (单独操作), so the day's
-- changes are one operation and a colleague stands by:  psql -U region_chen -f region_chen.sql
\set ON_ERROR_STOP on

-- A family moved inside the district.
SELECT student_id, name, id_card, address FROM app.student WHERE student_id = 102;

SELECT steward.request($script$
    UPDATE app.student SET address = '江苏省苏州市姑苏区书院巷16号桂花新村5幢402室', updated_at = now() WHERE student_id = 102;

    -- A new number of a guardian.
    UPDATE app.guardian SET phone = '13771850104' WHERE student_id = 104 AND is_primary;

    -- Ten children of one class change to the sister school: status only, far below fifty.
    UPDATE app.student SET status = 'transferred', updated_at = now()
    WHERE student_id IN (SELECT student_id FROM app.student
                         WHERE school_id = 20 AND grade = 6 AND class_no = 1 AND status = 'enrolled' ORDER BY student_id LIMIT 10);

    -- An account for a new form teacher, and one that is no longer needed.
    INSERT INTO app.users (login, person_name, post, school_id, phone) VALUES ('teacher_020_3', '尉迟静', 'teacher', 20, '18151520203');
    UPDATE app.users SET status = 'closed' WHERE login = 'teacher_020_2';

    -- A guardian entered twice is taken out; the first entry stays.
    INSERT INTO app.guardian (student_id, name, relation, phone) VALUES (105, '陆家铭', '其他', '13962110105');
    DELETE FROM app.guardian WHERE student_id = 105 AND name = '陆家铭' AND NOT is_primary;
$script$, purpose => '当日学籍与账号变更', expected_rows => 16) AS op_no \gset
SELECT digest FROM steward.show(:'op_no') \gset

-- Where codes are demanded, each new session types one:  -v witness_code=… -v code_again=…
\connect - region_liu
\if :{?witness_code}
SELECT steward.verify_totp(:'witness_code');
\endif
SELECT steward.confirm(:'op_no', :'digest');

\connect - region_chen
\if :{?code_again}
SELECT steward.verify_totp(:'code_again');
\endif
SELECT step, rows FROM steward.execute(:'op_no');

-- The monthly report of the district.
SELECT sc.name, count(*) FILTER (WHERE st.status = 'enrolled') AS enrolled, count(*) FILTER (WHERE st.status <> 'enrolled') AS others
FROM app.school AS sc JOIN app.student AS st USING (school_id) WHERE sc.region_code = '320508' GROUP BY sc.name ORDER BY sc.name;
