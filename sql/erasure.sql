-- Erasure of a person's data, where the law gives a right to it.

INSERT INTO steward.form (name, line, field, type, required, choices, label_zh, label_en, installed) VALUES
    ('erasure', 1, 'subject',      'text',        true,  NULL, '申请主体编号', 'whose data: a number, no name', true),
    ('erasure', 2, 'data',         'text',        true,  NULL, '删除范围', 'tables and rows that are erased', true),
    ('erasure', 3, 'ground',       'choice',      true,  '{consent_withdrawn,purpose_fulfilled,unlawful,other}', '删除依据', 'on which ground', true),
    ('erasure', 4, 'requested_at', 'timestamptz', true,  NULL, '申请时间', 'when it was asked for', true),
    ('erasure', 5, 'reason',       'text',        true,  NULL, '说明', 'why, and what must be kept', true);
INSERT INTO steward.form_policy (form, demanded, sign_offs) VALUES ('erasure', false, 1);

CREATE FUNCTION steward.erase_images(relation regclass, key jsonb) RETURNS bigint
    LANGUAGE c AS 'MODULE_PATHNAME', 'erase_images_wrapper';
COMMENT ON FUNCTION steward.erase_images(regclass, jsonb) IS 'Erases every kept image of one row of a table, its partitions included, and the row from copies of the table; how many. key: columns and values of the primary key, e.g. {"id": 7}. The last step of an erasure: the operation deletes the row before, whose own image goes as well. Runs whose images it takes can be restored no more. The chain holds no values and verifies as before; that images were erased, and how many, is on record. 22023 for anything but the whole primary key. Where the form erasure is demanded (steward.set_form), 42501 outside an operation that was filed with it, and for filing without it a script that calls this. Callers as steward.protect; once the policy is active with as many approvals as the rules for PRIVILEGE demand.';
REVOKE ALL ON FUNCTION steward.erase_images(regclass, jsonb) FROM PUBLIC;
