-- Rows of values that masks know, and the ways to mask a telephone number that people write by hand.
CREATE TABLE student AS SELECT
    '1380000' || lpad((n % 10000)::text, 4, '0') AS phone,
    '32050220100307' || lpad((n % 10000)::text, 4, '0') AS id_card,
    (ARRAY['张三', '王小明', '欧阳娜娜', '阿卜杜拉·买买提'])[1 + n % 4] AS name,
    '江苏省苏州市姑苏区观前街' || n % 500 || '号' AS address,
    'zhangsan' || n % 100 || '@example.com' AS email,
    '622202123456' || lpad((n % 10000)::text, 4, '0') AS bank_card,
    '父亲：张三 1380000' || lpad((n % 10000)::text, 4, '0') AS guardian,
    date '2005-01-01' + n % 5000 AS birth_date,
    (n % 100000 / 100.0)::numeric(10, 2) AS amount,
    'S' || n AS free_id
FROM generate_series(1, current_setting('bench.rows')::int) AS n;
VACUUM ANALYZE student;

CREATE FUNCTION mask_sql(text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT overlay($1 PLACING '****' FROM 4 FOR 4) $$;
CREATE FUNCTION mask_plpgsql(text) RETURNS text LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
    RETURN overlay($1 PLACING '****' FROM 4 FOR 4);
END $$;
-- Returns its argument as it came: what the planner writes into a plan.
CREATE FUNCTION spec(bigint) RETURNS steward.mask_spec LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE AS 'int8up';
