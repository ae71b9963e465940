-- Who stands behind each login, and in which post (manual 2.1). Separation of duties compares these persons.
-- Reviewers come first: they are the others' supervisors. A supervisor must be registered before it is named.
\set ON_ERROR_STOP on

SELECT steward.register_person('孙立群', 'reviewer', roles => ARRAY['reviewer_sun']::regrole[],
    department => '数据安全管理办公室');
SELECT steward.register_person('周文静', 'reviewer', roles => ARRAY['reviewer_zhou']::regrole[],
    department => '数据安全管理办公室', supervisor => '孙立群');

SELECT steward.register_person('韩志远', 'security_officer', roles => ARRAY['security_han']::regrole[],
    department => '数据安全管理办公室', supervisor => '孙立群');
-- The auditor answers to nobody who is audited.
SELECT steward.register_person('钱守正', 'auditor', roles => ARRAY['auditor_qian']::regrole[],
    department => '审计室');

SELECT steward.register_person('陈国栋', 'region_admin', roles => ARRAY['region_chen']::regrole[],
    department => '姑苏区教育信息中心', supervisor => '孙立群');
SELECT steward.register_person('刘慧敏', 'region_admin', roles => ARRAY['region_liu']::regrole[],
    department => '昆山市教育信息中心', supervisor => '孙立群');

-- The superuser is no exception: whoever loads the pack as one works as the first operations engineer.
SELECT steward.register_person('吴建平', 'ops', roles => ARRAY['ops_wu', session_user::text]::regrole[],
    department => '系统运维部', supervisor => '周文静');
SELECT steward.register_person('郑海涛', 'ops', roles => ARRAY['ops_zheng']::regrole[],
    department => '系统运维部', supervisor => '周文静');

SELECT steward.register_person('王雅琴', 'teacher', roles => ARRAY['teacher_wang']::regrole[],
    department => '姑苏区平江路小学', supervisor => '孙立群');
SELECT steward.register_person('李志强', 'teacher', roles => ARRAY['teacher_li']::regrole[],
    department => '姑苏区山塘街小学', supervisor => '孙立群');
SELECT steward.register_person('赵晓燕', 'clerk', roles => ARRAY['clerk_zhao']::regrole[],
    department => '客服中心', supervisor => '周文静');
SELECT steward.register_person('徐丽华', 'parent', roles => ARRAY['parent_xu']::regrole[]);

SELECT steward.register_person('E卡通应用服务', 'service', roles => ARRAY['app_service']::regrole[],
    department => '系统运维部', supervisor => '周文静');
SELECT steward.register_person('夜间批处理任务', 'service', roles => ARRAY['job_nightly']::regrole[],
    department => '系统运维部', supervisor => '周文静');
