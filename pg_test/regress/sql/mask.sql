-- What masks make of values: steward.mask_value(class, value, mask, prefix, suffix).

-- Each class keeps what is rarely enough to find somebody, and what does not parse is *** as a whole.
SELECT class, value, steward.mask_value(class, value) AS partial, steward.mask_value(class, value, 'generalize') AS generalize
FROM (VALUES
    ('id_card',    '320502201003071234'),
    ('id_card',    '320502100307123'),
    ('id_card',    'E12345678'),
    ('phone',      '13800000007'),
    ('phone',      '+86 138-0000-0007'),
    ('phone',      '0512-65123456'),
    ('phone',      '13800000007/0512-65123456'),
    ('phone',      '+1 415 555 2671'),
    ('name',       '张三'),
    ('name',       '欧阳娜娜'),
    ('name',       '阿卜杜拉·买买提'),
    ('name',       'John Smith'),
    ('name',       '李'),
    ('address',    '江苏省苏州市姑苏区观前街100号'),
    ('address',    '北京市朝阳区建国路1号'),
    ('address',    '广东省东莞市南城街道鸿福路1号'),
    ('address',    '观前街100号'),
    ('guardian',   '父亲：张三 13800000007'),
    ('bank_card',  '6222021234567890123'),
    ('email',      'zhangsan@example.com'),
    ('email',      '12345678@qq.com'),
    ('birth_date', '2010-03-07'),
    ('score',      '85.5'),
    ('amount',     '1234.56'),
    ('free_id',    'S20100307'),
    ('photo',      'x'),
    ('student_no', 'S20100307')) AS t (class, value);

-- Ends: the form of the manual (6 + 4), and levels of an address.
SELECT steward.mask_value('id_card', '320502201003071234', prefix => 6, suffix => 4);
SELECT steward.mask_value('address', '江苏省苏州市姑苏区观前街100号', prefix => 1);
SELECT steward.mask_value('name', '王小伟', prefix => 1, suffix => 1);
SELECT steward.mask_value('student_no', 'S20100307', prefix => 1);
-- A mask that would hide too little hides all.
SELECT steward.mask_value('phone', '13800000007', prefix => 7, suffix => 4);

SELECT steward.mask_value('phone', '13800000007', 'hide') AS hide, steward.mask_value('phone', '13800000007', 'none') AS none,
    steward.mask_value('phone', NULL) AS "null", steward.mask_value('phone', '') AS empty;
-- Tokens are not for asking.
SELECT steward.mask_value('phone', '13800000007', 'pseudonym') AS pseudonym, steward.mask_value('phone', '13800000007', 'hash') AS hash;
SET ROLE clerk_zhao;
SELECT steward.pseudonym('phone', '13800000007');
RESET ROLE;
SELECT steward.pseudonym('phone', '13800000007');

-- Mistakes.
SELECT steward.mask_value('phone', '13800000007', 'blur');
SELECT steward.mask_value('phone', '13800000007', prefix => 65);
SELECT 'phone partial'::steward.mask_spec;

SELECT steward.is_id_card('11010519491231002X') AS valid, steward.is_id_card('110105194912310021') AS wrong_check_character,
    steward.is_id_card('11010519490231002X') AS no_such_day;
