-- Students, guardians and platform accounts. Part of generate.sql, whose helper functions it uses.
\set ON_ERROR_STOP on
\set students_per_school 512
\set first_year 2026

-- Who is where: consecutive ids in each school, so that school 1 has the students 1 to 512.
CREATE TEMP TABLE pupil AS
SELECT n, s.school_id, r.full_name AS district, grade,
       1 + (k % (:students_per_school / span)) / 43 AS class_no,
       CASE WHEN pg_temp.pick(n, 'gender', 100) < 52 THEN '男' ELSE '女' END AS gender,
       make_date(:first_year - 6 - grade, 9, 1) + pg_temp.pick(n, 'birth', 365) AS birth_date,
       make_date(:first_year + low - grade, 9, 1) AS enrolled_on,
       pg_temp.pick(n, 'local', 10) < 7 AS is_local, NULL::char(6) AS region_code
FROM app.school AS s
JOIN app.region AS r ON r.code = s.region_code
JOIN (VALUES ('primary', 1, 6), ('junior', 7, 3), ('senior', 10, 3)) AS stages (stage, low, span) USING (stage)
CROSS JOIN generate_series(0, :students_per_school - 1) AS k
CROSS JOIN LATERAL (SELECT (s.school_id - 1) * :students_per_school + k + 1 AS n,
                           least(low + k / (:students_per_school / span), low + span - 1) AS grade) AS place;

-- Seven in ten were registered in Suzhou, the others anywhere; always under a code that was in force at birth.
WITH home AS (
    SELECT code, code LIKE '3205%' AS is_local, coalesce(created_on, '-infinity') AS since,
           coalesce(abolished_on, 'infinity') AS until FROM app.region
), choice AS (
    SELECT p.n, (SELECT array_agg(h.code::text ORDER BY h.code) FROM home AS h
                 WHERE h.is_local = p.is_local AND p.birth_date >= h.since
                   AND p.birth_date < h.until) AS codes
    FROM pupil AS p
)
UPDATE pupil SET region_code = pg_temp.pick_of(choice.n, 'region', codes) FROM choice WHERE choice.n = pupil.n;

-- The order number of an identity number is odd for boys, even for girls, and counts within one place and day.
INSERT INTO app.student (student_id, school_id, grade, class_no, name, gender, birth_date, id_card, phone, address,
                         enrolled_on, status, updated_at)
SELECT n, school_id, grade, class_no,
       pg_temp.surname(n, 's') || pg_temp.given_name(n, 's', gender), gender, birth_date,
       digits || pg_temp.check_character(digits),
       pg_temp.mobile(n, 's'),
       district || pg_temp.pick_of(n, 'street', '{人民路,解放西路,中山北路,学士街,文昌路,建设路,湖滨路,东环路,平泷路,'
            '阳澄湖路,太湖大道,金鸡湖路,书院巷,运河路,新华路,青年路,长江路,枫津路,宝带西路,邓尉路}')
           || 1 + pg_temp.pick(n, 'house', 388) || '号'
           || pg_temp.pick_of(n, 'estate', '{桂花新村,水香苑,锦绣花园,翡翠湾,名都花园,枫情水岸,莲花新村,东方雅苑,馨园,'
            '御景华庭,荷韵小区,虹桥新村,书香世家,江南春晓,锦沧花园,新康花园}')
           || 1 + pg_temp.pick(n, 'building', 48) || '幢'
           || (1 + pg_temp.pick(n, 'floor', 18)) * 100 + 1 + pg_temp.pick(n, 'room', 4) || '室',
       enrolled_on,
       CASE pg_temp.pick(n, 'status', 200) WHEN 0 THEN 'suspended' WHEN 1 THEN 'transferred' ELSE 'enrolled' END,
       timestamptz '2026-09-01 08:00+08' + pg_temp.pick(n, 'touched', 60) * interval '1 day'
FROM pupil
CROSS JOIN LATERAL (SELECT pg_temp.pick(to_char(birth_date, 'YYYYMMDD')::bigint, region_code, 400) AS base) AS day
JOIN (SELECT n, row_number() OVER (PARTITION BY region_code, birth_date, gender ORDER BY n) AS nth FROM pupil) AS rank USING (n)
CROSS JOIN LATERAL (SELECT region_code || to_char(birth_date, 'YYYYMMDD')
                        || lpad((2 * (base + nth) + (gender = '男')::int)::text, 3, '0') AS digits) AS number
ORDER BY n;

-- The first guardian of each child is the primary contact; three in five have a second one.
INSERT INTO app.guardian (guardian_id, student_id, name, relation, phone, is_primary)
SELECT row_number() OVER (ORDER BY student_id, nth), student_id,
       CASE WHEN relation IN ('父亲', '祖父') THEN left(name, -length(given)) ELSE pg_temp.surname(student_id, 'g' || nth) END
           || pg_temp.given_name(student_id, 'g' || nth, CASE WHEN relation IN ('父亲', '祖父', '外祖父') THEN '男' ELSE '女' END),
       relation, pg_temp.mobile(student_id, 'g' || nth), nth = 1
FROM app.student
CROSS JOIN generate_series(1, 2) AS nth
CROSS JOIN LATERAL (SELECT pg_temp.given_name(student_id, 's', gender) AS given,
    CASE WHEN pg_temp.pick(student_id, 'elder' || nth, 12) = 0
         THEN pg_temp.pick_of(student_id, 'elder', '{祖父,祖母,外祖父,外祖母}')
         WHEN (pg_temp.pick(student_id, 'mother', 2) + nth) % 2 = 0 THEN '母亲' ELSE '父亲' END AS relation) AS kin
WHERE nth = 1 OR pg_temp.pick(student_id, 'second', 5) < 3
ORDER BY student_id, nth;

-- The parent of the story: student 8's primary contact.
UPDATE app.guardian SET name = '徐丽华', relation = '母亲' WHERE student_id = 8 AND is_primary;

-- Accounts of the platform: the persons of roles.sql, and two teachers in every school.
INSERT INTO app.users (login, person_name, post, school_id, phone, created_at)
SELECT login, person_name, post, school_id, pg_temp.mobile(row_number() OVER (), 'u'), timestamptz '2026-08-20 09:00+08'
FROM (VALUES ('teacher_wang', '王雅琴', 'teacher', 1),         ('teacher_li', '李志强', 'teacher', 2),
             ('clerk_zhao', '赵晓燕', 'clerk', NULL),          ('region_chen', '陈国栋', 'region_admin', NULL),
             ('region_liu', '刘慧敏', 'region_admin', NULL),   ('reviewer_sun', '孙立群', 'reviewer', NULL),
             ('reviewer_zhou', '周文静', 'reviewer', NULL),    ('auditor_qian', '钱守正', 'auditor', NULL),
             ('ops_wu', '吴建平', 'ops', NULL),                ('ops_zheng', '郑海涛', 'ops', NULL),
             ('security_han', '韩志远', 'security_officer', NULL), ('parent_xu', '徐丽华', 'parent', NULL),
             ('app_service', 'E卡通应用服务', 'service', NULL), ('job_nightly', '夜间批处理任务', 'service', NULL)
     ) AS person (login, person_name, post, school_id)
UNION ALL
SELECT format('teacher_%s_%s', to_char(school_id, 'FM000'), nth),
       pg_temp.surname(school_id * 10 + nth, 't') || pg_temp.given_name(school_id * 10 + nth, 't', '女'),
       'teacher', school_id, pg_temp.mobile(school_id * 10 + nth, 't'), timestamptz '2026-08-24 09:00+08'
FROM app.school CROSS JOIN generate_series(1, 2) AS nth;

SELECT setval(pg_get_serial_sequence('app.student', 'student_id'), max(student_id)) FROM app.student \g /dev/null
SELECT setval(pg_get_serial_sequence('app.guardian', 'guardian_id'), max(guardian_id)) FROM app.guardian \g /dev/null
DROP TABLE pupil;
