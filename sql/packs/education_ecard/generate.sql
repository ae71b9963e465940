-- Demo data: 40 schools, 20,480 students, their guardians, cards, orders and ledger. Every value is a hash of the
-- row's number and a salt, so each load gives the same rows. All persons and numbers are invented.
-- Runs before the policy: filling a platform is no operation of it.
\set ON_ERROR_STOP on
-- Days are added to times below; summer time of the session's zone must not shift them.
SET TimeZone = 'Asia/Shanghai';
\ir regions.sql

-- A number in 0 .. modulus-1 that depends on n and salt only (md5: the same on every version and machine).
CREATE FUNCTION pg_temp.pick(n bigint, salt text, modulus int) RETURNS int LANGUAGE sql IMMUTABLE
    RETURN ('x' || substr(md5(salt || n), 1, 7))::bit(28)::int % modulus;
-- One character of a pool / one element of a list.
CREATE FUNCTION pg_temp.pick_char(n bigint, salt text, pool text) RETURNS text LANGUAGE sql IMMUTABLE
    RETURN substr(pool, 1 + pg_temp.pick(n, salt, length(pool)), 1);
CREATE FUNCTION pg_temp.pick_of(n bigint, salt text, list text[]) RETURNS text LANGUAGE sql IMMUTABLE
    RETURN list[1 + pg_temp.pick(n, salt, cardinality(list))];

-- Surnames by rough frequency; about one in forty is a compound one.
CREATE FUNCTION pg_temp.surname(n bigint, salt text) RETURNS text LANGUAGE sql IMMUTABLE
    RETURN CASE WHEN pg_temp.pick(n, salt || 'c', 40) = 0
        THEN pg_temp.pick_of(n, salt, '{欧阳,司马,诸葛,上官,皇甫,尉迟,令狐,司徒,夏侯,慕容,东方,公孙}')
        ELSE pg_temp.pick_char(n, salt, '王王王王王李李李李李张张张张张刘刘刘陈陈陈陈杨杨黄赵赵吴吴吴周周周徐徐徐孙孙'
             '马朱朱胡郭何林林高罗郑梁谢宋唐许韩冯邓曹彭曾肖田董袁潘于蒋蒋蔡余杜叶程苏魏吕丁任沈沈沈姚卢姜崔钟谭陆陆陆汪范金金石廖贾夏韦付方白邹孟熊秦邱江尹薛闫段雷侯龙史陶黎贺顾顾顾毛郝龚邵钱钱万严覃武戴莫孔向汤')
    END;
CREATE FUNCTION pg_temp.given_name(n bigint, salt text, gender text) RETURNS text LANGUAGE sql IMMUTABLE
    RETURN CASE WHEN gender = '男' THEN
        CASE WHEN pg_temp.pick(n, salt || '2', 6) = 0 THEN ''
             ELSE pg_temp.pick_char(n, salt || 'a', '子浩宇俊嘉文博天思明泽家志一晨睿承景铭奕梓皓逸致远') END
        || pg_temp.pick_char(n, salt || 'b', '轩宇涵睿博杰豪辰昊阳哲瀚霖恒凯航诚毅磊涛鑫楠鹏飞强峰斌栋然瑞')
    ELSE
        CASE WHEN pg_temp.pick(n, salt || '2', 6) = 0 THEN ''
             ELSE pg_temp.pick_char(n, salt || 'a', '雨梓欣思佳诗语若梦雅静慧婉可馨子一依紫晓心怡芷沐') END
        || pg_temp.pick_char(n, salt || 'b', '涵彤怡萱琪妍婷瑶洁雯颖悦琳菲然馨茜璐薇倩雪莹蕾娜敏燕芳宁月琴')
    END;
CREATE FUNCTION pg_temp.mobile(n bigint, salt text) RETURNS text LANGUAGE sql IMMUTABLE
    RETURN pg_temp.pick_of(n, salt || 'p', '{134,135,136,137,138,139,147,150,151,152,157,158,159,178,182,183,184,187,188,198,'
               '130,131,132,155,156,166,175,176,185,186,133,153,173,177,180,181,189,191,199}')
        || lpad(pg_temp.pick(n, salt || 'x', 10000)::text, 4, '0') || lpad(pg_temp.pick(n, salt || 'y', 10000)::text, 4, '0');
-- The 18th character of a GB 11643 number: weighted sum of the first 17 digits, modulo 11.
CREATE FUNCTION pg_temp.check_character(digits text) RETURNS text LANGUAGE sql IMMUTABLE
    RETURN substr('10X98765432', 1 + (
        SELECT sum(substr(digits, i, 1)::int * ('{7,9,10,5,8,4,2,1,6,3,7,9,10,5,8,4,2}'::int[])[i])::int % 11
        FROM generate_series(1, 17) AS i), 1);

\ir generate_people.sql
\ir generate_cards.sql

ANALYZE app.region, app.school, app.student, app.guardian, app.card, app.card_order, app.card_transaction, app.users;
RESET TimeZone;
