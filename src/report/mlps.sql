-- The control points of GB/T 22239-2019 level 3 (8.1) that concern a database, and the questions of GB/T 28448-2019 to
-- them. Each query gives one row: a verdict (conforms, partly, fails, not_applicable, unknown) and the facts it rests on.
-- Each stands for itself, so that an assessor can run it in psql. conforms is only said where a query has looked.

-- code: L3-CES1-01
-- clause: 8.1.4.1 a
-- zh: 身份标识唯一、口令复杂度与定期更换
-- en: unique identities, passwords that are complex and changed
-- high risk
SELECT CASE WHEN weak > 0 OR trusting > 0 THEN 'fails' WHEN lasting > 0 OR NOT checked THEN 'partly' ELSE 'conforms' END,
    format('%s logins; %s with a password that is no SCRAM verifier; %s whose password is valid for more than 90 days; %s lines of pg_hba.conf that ask for no password or are wrong; new passwords are %schecked (shared_preload_libraries).',
        logins, weak, lasting, trusting, CASE WHEN NOT checked THEN 'not ' END)
FROM (SELECT count(*) AS logins,
        count(*) FILTER (WHERE rolpassword !~ '^SCRAM-SHA-256\$') AS weak,
        count(*) FILTER (WHERE rolpassword IS NOT NULL AND coalesce(rolvaliduntil, 'infinity') > now() + interval '90 days') AS lasting,
        (SELECT count(*) FROM pg_hba_file_rules WHERE auth_method = 'trust' OR error IS NOT NULL) AS trusting,
        current_setting('shared_preload_libraries') ~ '\m(passwordcheck|credcheck)\M' AS checked
    FROM pg_authid WHERE rolcanlogin) f;

-- code: L3-CES1-02
-- clause: 8.1.4.1 b
-- zh: 登录失败处理、连接超时退出
-- en: failed logins, sessions that were left
SELECT CASE WHEN NOT active OR failures IS NULL AND terms = 0 THEN 'fails'
        WHEN failures IS NULL OR failures > 10 OR within < interval '1 minute' OR lock_for IS NULL OR lock_for < interval '1 minute'
            OR terms < 3 OR longest > interval '2 hours' THEN 'partly' ELSE 'conforms' END,
    format('Policy enforced: %s. Failures in a row that count: %s, within %s; locked for: %s. Tiers with an idle term: %s of 3 (%s).',
        active, coalesce(failures::text, 'none'), coalesce(within::text, 'any time'), coalesce(lock_for::text, 'nobody'), terms, coalesce(named, 'none'))
FROM (SELECT failures, within, lock_for, EXISTS (SELECT FROM steward.activation) AND steward._mode() = 'enforce' AS active,
        (SELECT max(idle_timeout) FROM steward.tier_policy) AS longest,
        (SELECT count(*) FROM steward.tier_policy WHERE post = '' AND idle_timeout IS NOT NULL) AS terms,
        (SELECT string_agg(format('%s %s', tier, idle_timeout), ', ' ORDER BY tier) FROM steward.tier_policy
            WHERE post = '' AND idle_timeout IS NOT NULL) AS named
    FROM steward.login_limit) f;

-- code: L3-CES1-03
-- clause: 8.1.4.1 c
-- zh: 远程管理防窃听
-- en: remote administration cannot be listened to
-- high risk
SELECT CASE WHEN NOT network THEN 'not_applicable' WHEN NOT ssl OR clear > 0 THEN 'fails' WHEN open > 0 THEN 'partly' ELSE 'conforms' END,
    format('listen_addresses: %s. ssl: %s. Lines of pg_hba.conf that admit unencrypted connections from other hosts: %s; such connections now: %s.',
        quote_literal(listen), ssl, open, clear)
FROM (SELECT listen, ssl, open, clear, listen !~ '^\s*$' AND listen !~ '^\s*(localhost|127\.0\.0\.1|::1)(\s*,\s*(localhost|127\.0\.0\.1|::1))*\s*$' AS network
    FROM (SELECT current_setting('listen_addresses') AS listen, current_setting('ssl')::boolean AS ssl,
        (SELECT count(*) FROM pg_hba_file_rules WHERE type IN ('host', 'hostnossl') AND auth_method <> 'reject'
            AND NOT (address IN ('localhost', 'samehost') OR address ~ '^127\.' AND netmask::inet >= '255.0.0.0'
                OR address = '::1' AND netmask = 'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff')) AS open,
        (SELECT count(*) FROM pg_stat_ssl s JOIN pg_stat_activity a USING (pid) WHERE NOT s.ssl AND a.client_addr IS NOT NULL
            AND NOT a.client_addr <<= inet '127.0.0.0/8' AND a.client_addr <> inet '::1') AS clear) s) f;

-- code: L3-CES1-04
-- clause: 8.1.4.1 d
-- zh: 两种或以上鉴别技术组合,其一为密码技术
-- en: two factors, one of them cryptographic
-- high risk
SELECT CASE WHEN NOT active OR tiers = 0 THEN 'fails' WHEN tiers < 2 OR single > 0 THEN 'partly' ELSE 'conforms' END,
    format('Policy enforced: %s. A code of an authenticator (TOTP) is demanded for: %s. Lines of pg_hba.conf that ask for no certificate at login: %s, so that normal work there takes one factor.',
        active, coalesce(named, 'nothing'), single)
FROM (SELECT count(*) FILTER (WHERE second_factor) AS tiers, string_agg(tier::text, ', ' ORDER BY tier) FILTER (WHERE second_factor) AS named,
        EXISTS (SELECT FROM steward.activation) AND steward._mode() = 'enforce' AS active,
        (SELECT count(*) FROM pg_hba_file_rules WHERE auth_method NOT IN ('cert', 'reject')
            AND NOT coalesce('clientcert=verify-full' = ANY (options), false)) AS single
    FROM steward.tier_policy WHERE post = '' AND tier IN ('important', 'critical')) f;

-- code: L3-CES1-05
-- clause: 8.1.4.2 a
-- zh: 分配账户和权限
-- en: accounts and their privileges
SELECT CASE WHEN everybody > 0 OR drift > 0 THEN 'fails' WHEN matrix = 0 THEN 'partly' ELSE 'conforms' END,
    format('Rows of the matrix (steward.role_permission): %s. Privileges that differ from it: %s. Privileges of PUBLIC on protected tables: %s.', matrix, drift, everybody)
FROM (SELECT (SELECT count(*) FROM steward.role_permission) AS matrix, (SELECT count(*) FROM steward.privilege_drift) AS drift,
    (SELECT count(*) FROM steward.protected p JOIN pg_class c ON c.oid = p.relation, aclexplode(c.relacl) a WHERE a.grantee = 0)
        + (SELECT count(*) FROM steward.protected p JOIN pg_attribute c ON c.attrelid = p.relation AND c.attnum > 0, aclexplode(c.attacl) a
            WHERE a.grantee = 0) AS everybody) f;

-- code: L3-CES1-06
-- clause: 8.1.4.2 b
-- zh: 重命名或删除默认账户,修改默认口令
-- en: default accounts are renamed or cannot log in
-- high risk
SELECT CASE WHEN rolcanlogin AND rolname = 'postgres' THEN 'fails' ELSE 'conforms' END,
    format('The role that initdb made (oid 10) is called %s and %s log in. Whether its password is a default one cannot be seen in a verifier.',
        rolname, CASE WHEN rolcanlogin THEN 'can' ELSE 'cannot' END)
FROM pg_authid WHERE oid = 10;

-- code: L3-CES1-07
-- clause: 8.1.4.2 c
-- zh: 多余、过期、共享账户
-- en: superfluous, expired and shared accounts
SELECT CASE WHEN nobody > 0 OR expired > 0 THEN 'fails' ELSE 'partly' END,
    format('Logins: %s; of no registered person: %s; whose password has expired: %s. A login belongs to one person by the key of steward.person_login. Logins that nobody uses any more are not looked for.',
        logins, nobody, expired)
FROM (SELECT count(*) AS logins,
        count(*) FILTER (WHERE NOT EXISTS (SELECT FROM steward.person_login l WHERE l.role::oid = r.oid)) AS nobody,
        count(*) FILTER (WHERE rolvaliduntil < now()) AS expired
    FROM pg_roles r WHERE rolcanlogin) f;

-- code: L3-CES1-08
-- clause: 8.1.4.2 d
-- zh: 最小权限、管理用户权限分离
-- en: least privilege, separated administrators
WITH RECURSIVE reach (login, role) AS (SELECT oid, oid FROM pg_roles WHERE rolcanlogin
    UNION SELECT r.login, m.roleid FROM reach r JOIN pg_auth_members m ON m.member = r.role)
SELECT CASE WHEN issues > 0 OR strangers > 0 THEN 'fails' WHEN posts < 3 OR superusers > 1 OR powerful > 0 THEN 'partly' ELSE 'conforms' END,
    format('Persons who hold capabilities that exclude each other: %s. Logins that are superusers or may become one by SET ROLE: %s, of no registered person: %s; other logins that may run programs or read and write files of the server: %s. Of operations, security officer and auditor, posts that somebody holds: %s of 3.',
        issues, superusers, strangers, powerful, posts)
FROM (SELECT count(*) FILTER (WHERE super) AS superusers,
        count(*) FILTER (WHERE super AND NOT EXISTS (SELECT FROM steward.person_login l WHERE l.role::oid = login)) AS strangers,
        count(*) FILTER (WHERE NOT super AND files) AS powerful
    FROM (SELECT r.login, bool_or(o.rolsuper) AS super,
            bool_or(o.rolname IN ('pg_execute_server_program', 'pg_read_server_files', 'pg_write_server_files')) AS files
        FROM reach r JOIN pg_roles o ON o.oid = r.role GROUP BY 1) l) s,
    (SELECT count(*) AS issues FROM steward._separation_issue) i,
    (SELECT count(DISTINCT post) AS posts FROM steward.person WHERE suspended_at IS NULL AND coalesce(valid_until, 'infinity') > now()
        AND post IN ('ops', 'security_officer', 'auditor')) p;

-- code: L3-CES1-09
-- clause: 8.1.4.2 e
-- zh: 由授权主体配置访问控制策略
-- en: the policy is set by those who are authorised to
SELECT CASE WHEN active AND officers > 0 THEN 'conforms' WHEN active THEN 'partly' ELSE 'fails' END,
    format('Policy active: %s, mode: %s; changes of it take an approved operation then. Persons who may configure: %s.', active, steward._mode(), officers)
FROM (SELECT EXISTS (SELECT FROM steward.activation) AND steward._mode() = 'enforce' AS active,
    (SELECT count(*) FROM steward.person p JOIN steward.post o ON o.name = p.post WHERE 'configure' = ANY (o.capabilities)
        AND p.suspended_at IS NULL AND coalesce(p.valid_until, 'infinity') > now()) AS officers) f;

-- code: L3-CES1-10
-- clause: 8.1.4.2 f
-- zh: 访问控制粒度:主体到用户,客体到表、记录、字段
-- en: access control down to tables, rows and columns
SELECT CASE WHEN tables = 0 THEN 'fails' WHEN scopes = 0 OR classes = 0 OR gaps > 0 THEN 'partly' ELSE 'conforms' END,
    format('Protected tables: %s. Row scopes: %s, on tables whose row security is not on for everybody: %s. Columns with a class: %s.', tables, scopes, gaps, classes)
FROM (SELECT (SELECT count(*) FROM steward.protected) AS tables, (SELECT count(*) FROM steward.scope) AS scopes,
    (SELECT count(*) FROM steward.scope s JOIN pg_class c ON c.oid = s.relation WHERE NOT (c.relrowsecurity AND c.relforcerowsecurity)) AS gaps,
    (SELECT count(*) FROM steward._class) AS classes) f;

-- code: L3-CES1-11
-- clause: 8.1.4.2 g
-- zh: 安全标记与强制访问控制
-- en: security labels, and access by them
SELECT CASE WHEN classes = 0 OR masks = 0 THEN 'fails' ELSE 'partly' END,
    format('Columns with a label: %s; rules that show labelled columns masked: %s. Labels name kinds of data: subjects carry none, and levels are not compared.', classes, masks)
FROM (SELECT (SELECT count(*) FROM steward._class) AS classes, (SELECT count(*) FROM steward.mask_rule) AS masks) f;

-- code: L3-CES1-12
-- clause: 8.1.4.3 a
-- zh: 审计覆盖每个用户
-- en: every user is audited
-- high risk
SELECT CASE WHEN mode = 'off' OR tables = 0 OR NOT preloaded OR NOT sequencer_alive THEN 'fails' ELSE 'conforms' END,
    format('Library preloaded: %s, mode: %s, sequencer runs: %s, protected tables: %s, tables outside the policy, whose use is not recorded: %s. No role is exempt, superusers included.',
        preloaded, mode, sequencer_alive, tables, others)
FROM (SELECT steward._mode() AS mode, current_setting('shared_preload_libraries') ~ '\mpg_steward\M' AS preloaded,
    (SELECT count(*) FROM steward.protected) AS tables, (SELECT sequencer_alive FROM steward._audit_status()) AS sequencer_alive,
    (SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'r' AND c.relpersistence <> 't'
        AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'steward') AND n.nspname !~ '^pg_toast' AND c.oid NOT IN (SELECT relation FROM steward._tree)) AS others) f;

-- code: L3-CES1-13
-- clause: 8.1.4.3 b
-- zh: 审计记录:时间、用户、类型、成败
-- en: records tell time, user, kind and result
-- high risk
SELECT CASE WHEN records = 0 OR incomplete > 0 THEN 'fails' ELSE 'conforms' END,
    format('Of the newest %s records, without time, user, kind or result: %s.', records, incomplete)
FROM (SELECT count(*) AS records,
        count(*) FILTER (WHERE num_nulls(operation_time, user_id, operation_type, result) > 0 OR user_id LIKE '(definition % is missing)') AS incomplete
    FROM (SELECT operation_time, user_id, operation_type, result FROM steward.audit_log ORDER BY id DESC LIMIT 1000) l) f;

-- code: L3-CES1-14
-- clause: 8.1.4.3 c
-- zh: 审计记录保护与定期备份
-- en: records are protected and backed up
-- high risk
SELECT CASE WHEN last_verified_at IS NULL OR failed_verification IS NOT NULL OR lost > 0 OR offline < interval '6 months' THEN 'fails'
        WHEN last_verified_at < now() - interval '7 days' OR backup IS NULL OR backup < now() THEN 'partly' ELSE 'conforms' END,
    format('Chain verified up to record %s at %s; found since: %s. Records lost and not yet told: %s. Kept for %s. A backup on record is valid until: %s.',
        coalesce(last_verified_id, 0), coalesce(last_verified_at::timestamptz(0)::text, 'never'), coalesce(failed_verification, 'nothing'), lost, offline,
        coalesce(backup::timestamptz(0)::text, 'there is none'))
FROM steward._audit_status(), steward.retention_policy,
    (SELECT max(valid_until) AS backup FROM steward._record_last WHERE kind = 'backup' AND good) b;

-- code: L3-CES1-15
-- clause: 8.1.4.3 d
-- zh: 审计进程防未经授权的中断
-- en: auditing cannot be interrupted
-- high risk
SELECT CASE WHEN mode = 'off' OR NOT sequencer_alive THEN 'fails' WHEN NOT active OR mode <> 'enforce' OR gaps > 0 OR beat = interval '0' THEN 'partly' ELSE 'conforms' END,
    format('Policy active: %s, mode: %s, sequencer runs: %s. Then DROP EXTENSION, settings, triggers and the sequencer''s end are refused without an approved operation, and recorded. Of the newest %s records, stretches of idle time without a HEARTBEAT (every %s), in which it did not run: %s. The server''s own OS user cannot be stopped from inside.',
        active, mode, sequencer_alive, records, beat, gaps)
FROM (SELECT EXISTS (SELECT FROM steward.activation) AS active, steward._mode() AS mode,
        (SELECT sequencer_alive FROM steward._audit_status()) AS sequencer_alive,
        current_setting('steward.heartbeat_interval')::interval AS beat) f,
    (SELECT count(*) AS records, count(*) FILTER (WHERE operation_type NOT IN ('SERVER START', 'CRASH BOUNDARY', 'INCARNATION')
            AND quiet > 2 * current_setting('steward.heartbeat_interval')::interval + interval '10 seconds') AS gaps
        FROM (SELECT operation_type, operation_time - max(operation_time) OVER (ORDER BY id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS quiet
            FROM (SELECT id, operation_type, operation_time FROM steward.audit_log ORDER BY id DESC LIMIT 10000) newest) l) g;

-- code: L3-CES1-17
-- clause: 8.1.4.4 a
-- zh: 最小安装
-- en: nothing is installed that is not needed
SELECT CASE WHEN untrusted IS NOT NULL THEN 'fails' WHEN others IS NOT NULL THEN 'partly' ELSE 'conforms' END,
    format('Languages in which functions leave the database: %s. Extensions beside plpgsql and pg_steward: %s.', coalesce(untrusted, 'none'), coalesce(others, 'none'))
FROM (SELECT (SELECT string_agg(lanname, ', ' ORDER BY lanname) FROM pg_language WHERE NOT lanpltrusted AND lanname NOT IN ('internal', 'c')) AS untrusted,
    (SELECT string_agg(extname, ', ' ORDER BY extname) FROM pg_extension WHERE extname NOT IN ('plpgsql', 'pg_steward')) AS others) f;

-- code: L3-CES1-18
-- clause: 8.1.4.4 b
-- zh: 关闭不需要的服务和高危端口
-- en: services and ports that are not needed are closed
-- high risk
SELECT CASE WHEN listen ~ '(\*|0\.0\.0\.0|(^|[ ,])::([ ,]|$))' THEN 'partly' ELSE 'conforms' END,
    format('listen_addresses: %s, port: %s. Every address: only a firewall, which is not seen from here, keeps others out.', quote_literal(listen), current_setting('port'))
FROM (SELECT current_setting('listen_addresses') AS listen) f;

-- code: L3-CES1-19
-- clause: 8.1.4.4 c
-- zh: 管理终端接入地址限制
-- en: administrators come from known addresses
-- high risk
SELECT CASE WHEN anywhere > 0 AND limited < administrators OR administrators = 0 THEN 'fails' WHEN limited < administrators THEN 'partly' ELSE 'conforms' END,
    format('Lines of pg_hba.conf that admit any address, or far too many (less than /8): %s. Logins of administrators and superusers: %s, bound to networks by steward.set_login_policy: %s.', anywhere, administrators, limited)
FROM (SELECT (SELECT count(*) FROM pg_hba_file_rules WHERE type LIKE 'host%' AND auth_method <> 'reject'
        AND (address = 'all' OR netmask !~ '^(255\.|ff)')) AS anywhere,
    count(*) AS administrators, count(*) FILTER (WHERE EXISTS (SELECT FROM steward.login_policy y
        -- A network without a bit is everywhere.
        WHERE (SELECT min(masklen(a)) FROM unnest(y.addresses) a) > 0 AND (y.role::oid = r.oid OR EXISTS (SELECT FROM pg_auth_members m
            WHERE m.roleid = y.role::oid AND m.member = r.oid)))) AS limited
    FROM pg_roles r WHERE rolcanlogin AND (rolsuper OR EXISTS (SELECT FROM steward.person_login l JOIN steward.person p ON p.name = l.person
        JOIN steward.post o ON o.name = p.post WHERE l.role::oid = r.oid AND o.administrator AND p.suspended_at IS NULL))) f;

-- code: L3-CES1-20
-- clause: 8.1.4.4 d
-- zh: 数据有效性检验
-- en: data are checked
SELECT CASE WHEN constraints = 0 AND checks = 0 THEN 'fails' WHEN checks = 0 OR overdue OR unmade > 0 THEN 'partly' ELSE 'conforms' END,
    format('CHECK and foreign key constraints on protected tables: %s. Integrity checks: %s, last run overdue: %s; that could not be made then: %s.', constraints, checks, overdue, unmade)
FROM (SELECT (SELECT count(*) FROM pg_constraint k JOIN steward.protected p ON p.relation::oid = k.conrelid WHERE contype IN ('c', 'f')) AS constraints,
    (SELECT count(*) FROM steward.integrity_check) AS checks, (SELECT overdue FROM steward.check_status) AS overdue,
    (SELECT count(*) FROM steward._check_result r JOIN steward.integrity_check c ON c.name = r.check_name
        WHERE r.failure IS NOT NULL AND r.run_id = (SELECT max(id) FROM steward._check_run)) AS unmade) f;

-- code: L3-CES1-21
-- clause: 8.1.4.4 e
-- zh: 已知漏洞修补
-- en: known vulnerabilities are patched
-- high risk
SELECT CASE WHEN fixed IS NULL THEN 'unknown' WHEN version < fixed THEN 'fails' ELSE 'partly' END,
    format('The server is %s. The newest security fixes that this version of the extension knows of: %s. Later ones: compare with postgresql.org/support/security.',
        current_setting('server_version'), coalesce(named, 'none for this major version'))
FROM (SELECT current_setting('server_version_num')::int AS version) s
LEFT JOIN (VALUES (15, 150020, '15.20 (2026-11-13)'), (16, 160014, '16.14 (2026-05-14)'), (17, 170010, '17.10 (2026-05-14)'), (18, 180004, '18.4 (2026-05-14)'))
    AS f (major, fixed, named) ON major = version / 10000;

-- code: L3-CES1-22
-- clause: 8.1.4.4 f
-- zh: 检测入侵行为并报警
-- en: intrusions are detected and told
SELECT CASE WHEN rules = 0 THEN 'fails' WHEN late > 0 OR unsent > 0 OR unheard IS NOT NULL THEN 'partly' ELSE 'conforms' END,
    format('Alert rules in force: %s; what none of them hears: %s. Open alerts that nobody has answered for 15 minutes: %s; that nobody has sent for an hour: %s.', rules, coalesce(unheard, 'nothing of importance'), late, unsent)
FROM (SELECT (SELECT count(*) FROM steward.alert_rule WHERE enabled) AS rules,
    (SELECT string_agg(said, ', ' ORDER BY said) FROM unnest('{DENIED,LOGIN FAILURES,PERMISSION FAILURES,BREAK GLASS,LOST,MISSING JOURNAL,HEAD MISMATCH,VERIFICATION FAILED}'::text[]) said
        WHERE NOT EXISTS (SELECT FROM steward.alert_rule r WHERE r.enabled
            AND (said = ANY (r.operation_types) OR said = ANY (r.results) AND r.operation_types = '{}'))) AS unheard,
    (SELECT count(*) FROM steward._alert WHERE acknowledged_at IS NULL AND raised_at < now() - interval '15 minutes') AS late,
    (SELECT count(*) FROM steward._alert WHERE delivered_at IS NULL AND closed_at IS NULL AND acknowledged_at IS NULL AND raised_at < now() - interval '1 hour') AS unsent) f;

-- code: L3-CES1-23
-- clause: 8.1.4.5
-- zh: 恶意代码防范
-- en: protection from malicious code

-- code: L3-CES1-24
-- clause: 8.1.4.6
-- zh: 可信验证
-- en: trusted verification
SELECT CASE WHEN libraries = 0 THEN 'fails' ELSE 'partly' END,
    format('Files of preloaded libraries whose digest was accepted (steward.accept_configuration): %s; settings and lines of pg_hba.conf: %s; the daily check tells of every other. None of them is measured from a root of trust before it runs.', libraries, kept - libraries)
FROM (SELECT count(*) AS kept, count(*) FILTER (WHERE kind = 'library' AND value ~ '^[0-9a-f]{64}$') AS libraries FROM steward._configuration) f;

-- code: L3-CES1-25
-- clause: 8.1.4.7 a
-- zh: 传输完整性
-- en: integrity in transit
-- high risk
SELECT CASE WHEN NOT network THEN 'not_applicable' WHEN NOT ssl THEN 'fails' WHEN clear > 0 OR open > 0 THEN 'partly' ELSE 'conforms' END,
    format('Reached over the network: %s. ssl: %s, at least %s. Lines of pg_hba.conf that admit unencrypted connections from other hosts: %s; such connections now: %s.', network, ssl, current_setting('ssl_min_protocol_version'), open, clear)
FROM (SELECT current_setting('ssl')::boolean AS ssl, current_setting('listen_addresses') !~ '^\s*((localhost|127\.0\.0\.1|::1)(\s*,\s*(localhost|127\.0\.0\.1|::1))*\s*)?$' AS network,
    (SELECT count(*) FROM pg_hba_file_rules WHERE type IN ('host', 'hostnossl') AND auth_method <> 'reject'
        AND NOT (address IN ('localhost', 'samehost') OR address ~ '^127\.' AND netmask::inet >= '255.0.0.0'
                OR address = '::1' AND netmask = 'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff')) AS open,
    (SELECT count(*) FROM pg_stat_ssl s JOIN pg_stat_activity a USING (pid) WHERE NOT s.ssl AND a.client_addr IS NOT NULL
        AND NOT a.client_addr <<= inet '127.0.0.0/8' AND a.client_addr <> inet '::1') AS clear) f;

-- code: L3-CES1-26
-- clause: 8.1.4.7 b
-- zh: 存储完整性(鉴别、业务、审计、配置、个人信息)
-- en: integrity in storage
-- high risk
SELECT CASE WHEN NOT checksums AND last_verified_at IS NULL OR failed_verification IS NOT NULL THEN 'fails'
        WHEN NOT checksums OR last_verified_at IS NULL OR last_verified_at < now() - interval '7 days' OR kept = 0 THEN 'partly' ELSE 'conforms' END,
    format('Data checksums: %s. Audit chain verified at: %s; found since: %s. Accepted settings that are compared daily: %s. Rows of the business carry no hash of their own.',
        checksums, coalesce(last_verified_at::timestamptz(0)::text, 'never'), coalesce(failed_verification, 'nothing'), kept)
FROM (SELECT current_setting('data_checksums')::boolean AS checksums, (SELECT count(*) FROM steward._configuration) AS kept) f, steward._audit_status();

-- code: L3-CES1-27
-- clause: 8.1.4.8 a
-- zh: 传输保密性
-- en: confidentiality in transit
-- high risk
SELECT CASE WHEN NOT network THEN 'not_applicable' WHEN NOT ssl OR clear > 0 THEN 'fails' WHEN open > 0 OR protocol NOT IN ('TLSv1.2', 'TLSv1.3') THEN 'partly' ELSE 'conforms' END,
    format('Reached over the network: %s. ssl: %s, at least %s. Lines of pg_hba.conf that admit unencrypted connections from other hosts: %s; such connections now: %s.', network, ssl, protocol, open, clear)
FROM (SELECT current_setting('ssl')::boolean AS ssl, current_setting('listen_addresses') !~ '^\s*((localhost|127\.0\.0\.1|::1)(\s*,\s*(localhost|127\.0\.0\.1|::1))*\s*)?$' AS network, current_setting('ssl_min_protocol_version') AS protocol,
    (SELECT count(*) FROM pg_hba_file_rules WHERE type IN ('host', 'hostnossl') AND auth_method <> 'reject'
        AND NOT (address IN ('localhost', 'samehost') OR address ~ '^127\.' AND netmask::inet >= '255.0.0.0'
                OR address = '::1' AND netmask = 'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff')) AS open,
    (SELECT count(*) FROM pg_stat_ssl s JOIN pg_stat_activity a USING (pid) WHERE NOT s.ssl AND a.client_addr IS NOT NULL
        AND NOT a.client_addr <<= inet '127.0.0.0/8' AND a.client_addr <> inet '::1') AS clear) f;

-- code: L3-CES1-28
-- clause: 8.1.4.8 b
-- zh: 存储保密性
-- en: confidentiality in storage
SELECT CASE WHEN weak > 0 THEN 'fails' ELSE 'unknown' END,
    format('Passwords that are no SCRAM verifier: %s. Secrets of authenticators are sealed (AES-256-GCM), the key lies outside the data directory. Columns are not encrypted by this extension (%s have a class); whether the disk is cannot be seen from here.', weak, classes)
FROM (SELECT (SELECT count(*) FROM pg_authid WHERE rolpassword !~ '^SCRAM-SHA-256\$') AS weak, (SELECT count(*) FROM steward._class) AS classes) f;

-- code: L3-CES1-29
-- clause: 8.1.4.9 a
-- zh: 本地数据备份与恢复
-- en: backup and restore
SELECT CASE WHEN backup IS NULL OR backup < now() THEN 'fails' WHEN drill IS NULL OR drill < now() THEN 'partly' ELSE 'conforms' END,
    format('A backup on record is valid until: %s. A successful restore drill on record is valid until: %s. archive_mode: %s, last archived: %s, failed: %s.',
        coalesce(backup::timestamptz(0)::text, 'there is none'), coalesce(drill::timestamptz(0)::text, 'there is none'), current_setting('archive_mode'),
        coalesce(last_archived_time::timestamptz(0)::text, 'never'), failed_count)
FROM (SELECT max(valid_until) FILTER (WHERE kind = 'backup') AS backup, max(valid_until) FILTER (WHERE kind = 'restore_drill') AS drill
    FROM steward._record_last WHERE good) r, pg_stat_archiver;

-- code: L3-CES1-30
-- clause: 8.1.4.9 b
-- zh: 异地实时备份
-- en: real-time backup at another place
SELECT CASE WHEN far = 0 AND off_site IS NULL THEN 'fails' WHEN far = 0 OR behind > interval '1 minute' THEN 'partly' ELSE 'conforms' END,
    format('Standbys that stream to another host: %s, the slowest %s behind. An off-site backup on record is valid until: %s. Where those hosts stand is not seen from here.',
        far, coalesce(behind::text, 'not'), coalesce(off_site::timestamptz(0)::text, 'there is none'))
FROM (SELECT count(*) AS far, max(replay_lag) AS behind FROM pg_stat_replication r WHERE state = 'streaming' AND client_addr IS NOT NULL
        AND NOT EXISTS (SELECT FROM pg_replication_slots l WHERE l.active_pid = r.pid AND l.slot_type = 'logical')
        AND NOT client_addr <<= inet '127.0.0.0/8' AND client_addr <> inet '::1') s,
    (SELECT max(valid_until) AS off_site FROM steward._record_last WHERE kind = 'off_site_backup' AND good AND valid_until > now()) o;

-- code: L3-CES1-31
-- clause: 8.1.4.9 c
-- zh: 数据处理系统热冗余
-- en: a hot standby
SELECT CASE WHEN standbys = 0 THEN 'fails' ELSE 'conforms' END,
    format('Standbys that stream: %s, synchronous: %s.', standbys, synchronous)
FROM (SELECT count(*) AS standbys, count(*) FILTER (WHERE sync_state IN ('sync', 'quorum')) AS synchronous FROM pg_stat_replication r
    -- Who receives WAL and replays none of it is no standby, whatever it is called; nor is a subscriber of some tables.
    WHERE state = 'streaming' AND replay_lsn IS NOT NULL AND application_name <> 'pg_basebackup'
        AND NOT EXISTS (SELECT FROM pg_replication_slots l WHERE l.active_pid = r.pid AND l.slot_type = 'logical')) f;

-- code: L3-CES1-32
-- clause: 8.1.4.10 a
-- zh: 鉴别信息的剩余信息清除
-- en: what is left of secrets is cleared
SELECT CASE WHEN weak > 0 THEN 'fails' ELSE 'partly' END,
    format('Passwords that are no SCRAM verifier, and would be left readable: %s. An opened secret of an authenticator is not wiped from the memory of its process.', weak)
FROM (SELECT count(*) AS weak FROM pg_authid WHERE rolpassword !~ '^SCRAM-SHA-256\$') f;

-- code: L3-CES1-33
-- clause: 8.1.4.10 b
-- zh: 敏感数据的剩余信息清除
-- en: what is left of sensitive data is cleared
SELECT CASE WHEN tables = 0 THEN 'not_applicable' WHEN NOT vacuum THEN 'fails' ELSE 'partly' END,
    format('Tables with labelled columns: %s, dead rows in them: %s, autovacuum: %s. Images of rows are purged after %s. PostgreSQL does not overwrite pages that it frees.', tables, dead, vacuum, images)
FROM (SELECT count(*) AS tables, coalesce(sum(n_dead_tup), 0) AS dead, current_setting('autovacuum')::boolean AS vacuum,
        (SELECT row_images FROM steward.retention_policy) AS images
    FROM pg_stat_all_tables WHERE relid IN (SELECT relation FROM steward._class)) f;

-- code: L3-CES1-34
-- clause: 8.1.4.11 a
-- zh: 仅采集和保存业务必需的个人信息
-- en: only personal data that are needed
SELECT CASE WHEN classes = 0 THEN 'fails' ELSE 'partly' END,
    format('Columns with a class: %s. Columns that look like personal data and have none (steward.lint): %s. Whether each is needed only people can say.', classes, unlabelled)
FROM (SELECT (SELECT count(*) FROM steward._class) AS classes, (SELECT count(*) FROM steward.lint() WHERE kind IN ('look_alike', 'copy', 'foreign_table')) AS unlabelled) f;

-- code: L3-CES1-35
-- clause: 8.1.4.11 b
-- zh: 禁止未授权访问和非法使用个人信息
-- en: no unauthorised use of personal data
SELECT CASE WHEN masks = 0 THEN 'fails' WHEN ways > 0 OR drift > 0 THEN 'partly' ELSE 'conforms' END,
    format('Rules that show personal data masked: %s. Ways around them that exist now (steward.lint): %s. Privileges that differ from the matrix: %s.', masks, ways, drift)
FROM (SELECT (SELECT count(*) FROM steward.mask_rule) AS masks, (SELECT count(*) FROM steward.lint()) AS ways, (SELECT count(*) FROM steward.privilege_drift) AS drift) f;

-- code: 8.1.5.1 a, b
-- clause: 8.1.5.1 a, b
-- zh: 系统管理
-- en: system administration
SELECT CASE WHEN persons = 0 THEN 'fails' WHEN NOT active THEN 'partly' ELSE 'conforms' END,
    format('Persons of the post ops: %s. Policy enforced: %s; their commands are decided and recorded then.', persons, active)
FROM (SELECT (SELECT count(*) FROM steward.person WHERE post = 'ops' AND suspended_at IS NULL AND coalesce(valid_until, 'infinity') > now()) AS persons,
    EXISTS (SELECT FROM steward.activation) AND steward._mode() = 'enforce' AS active) f;

-- code: 8.1.5.2 a, b
-- clause: 8.1.5.2 a, b
-- zh: 审计管理
-- en: audit administration
SELECT CASE WHEN persons = 0 THEN 'fails' WHEN mixed > 0 THEN 'fails' WHEN NOT recorded THEN 'partly' ELSE 'conforms' END,
    format('Persons with the capability audit: %s; of them with another that excludes it: %s. Reports on the trail and searches in it are recorded: %s.', persons, mixed, recorded)
FROM (SELECT (SELECT count(*) FROM steward.person p JOIN steward.post o ON o.name = p.post WHERE 'audit' = ANY (o.capabilities)
        AND p.suspended_at IS NULL AND coalesce(p.valid_until, 'infinity') > now()) AS persons,
    (SELECT count(DISTINCT person) FROM steward._separation_issue WHERE 'audit' IN (one, other)) AS mixed,
    steward._mode() <> 'off' AS recorded) f;

-- code: 8.1.5.3 a, b
-- clause: 8.1.5.3 a, b
-- zh: 安全管理
-- en: security administration
SELECT CASE WHEN persons = 0 THEN 'fails' WHEN NOT active OR mixed > 0 THEN 'partly' ELSE 'conforms' END,
    format('Persons who may configure: %s; of them with a capability that excludes it: %s. Policy enforced: %s.', persons, mixed, active)
FROM (SELECT (SELECT count(*) FROM steward.person p JOIN steward.post o ON o.name = p.post WHERE 'configure' = ANY (o.capabilities)
        AND p.suspended_at IS NULL AND coalesce(p.valid_until, 'infinity') > now()) AS persons,
    (SELECT count(DISTINCT person) FROM steward._separation_issue WHERE 'configure' IN (one, other)) AS mixed,
    EXISTS (SELECT FROM steward.activation) AND steward._mode() = 'enforce' AS active) f;

-- code: 8.1.5.4 d
-- clause: 8.1.5.4 d
-- zh: 审计数据汇总、留存不少于六个月
-- en: audit data are gathered and kept for six months
SELECT CASE WHEN offline < interval '6 months' THEN 'fails' WHEN missing > 0 THEN 'partly' ELSE 'conforms' END,
    format('Records are kept online for %s and in archives for %s. Archived segments younger than six months whose file was removed: %s. Whether other systems collect them is not seen from here.', online, offline, missing)
FROM steward.retention_policy, (SELECT count(*) AS missing FROM steward.segment WHERE purged_at IS NOT NULL AND coalesce(last_time, closed_at) > now() - interval '6 months') s;

-- code: 8.1.5.4 f
-- clause: 8.1.5.4 f
-- zh: 安全事件识别、报警和分析
-- en: security incidents are recognised and told
SELECT CASE WHEN rules = 0 THEN 'fails' WHEN late > 0 OR unheard IS NOT NULL THEN 'partly' ELSE 'conforms' END,
    format('Alert rules in force: %s, of them major: %s; what none of them hears: %s. Alerts of the last 30 days: %s, answered later than 15 minutes or not at all: %s.', rules, major, coalesce(unheard, 'nothing of importance'), alerts, late)
FROM (SELECT count(*) AS rules, count(*) FILTER (WHERE level = 'major') AS major FROM steward.alert_rule WHERE enabled) r,
    (SELECT string_agg(said, ', ' ORDER BY said) AS unheard FROM unnest('{DENIED,LOGIN FAILURES,PERMISSION FAILURES,BREAK GLASS,LOST,MISSING JOURNAL,HEAD MISMATCH,VERIFICATION FAILED}'::text[]) said
        WHERE NOT EXISTS (SELECT FROM steward.alert_rule r WHERE r.enabled
            AND (said = ANY (r.operation_types) OR said = ANY (r.results) AND r.operation_types = '{}'))) u,
    (SELECT count(*) AS alerts, count(*) FILTER (WHERE coalesce(acknowledged_at, clock_timestamp()) - raised_at > interval '15 minutes') AS late
        FROM steward._alert WHERE raised_at > now() - interval '30 days') a;

-- code: 8.1.7.1 c
-- clause: 8.1.7.1 c
-- zh: 岗位设置:系统、审计、安全管理员
-- en: posts of system, audit and security administrators
SELECT CASE WHEN posts < 3 THEN 'fails' ELSE 'conforms' END, format('Of operations, auditor and security officer, posts that somebody holds: %s of 3 (%s).', posts, coalesce(named, 'none'))
FROM (SELECT count(DISTINCT post) AS posts, string_agg(DISTINCT post, ', ' ORDER BY post) AS named FROM steward.person
    WHERE post IN ('ops', 'auditor', 'security_officer') AND suspended_at IS NULL AND coalesce(valid_until, 'infinity') > now()) f;

-- code: 8.1.7.2 b
-- clause: 8.1.7.2 b
-- zh: 专职安全管理员,不可兼任
-- en: the security officer has no other post
SELECT CASE WHEN officers = 0 OR issues > 0 THEN 'fails' ELSE 'conforms' END,
    format('Persons of the post security_officer: %s. Persons who hold capabilities that exclude each other: %s. What they do outside the database is not seen.', officers, issues)
FROM (SELECT (SELECT count(*) FROM steward.person WHERE post = 'security_officer' AND suspended_at IS NULL AND coalesce(valid_until, 'infinity') > now()) AS officers,
    (SELECT count(*) FROM steward._separation_issue) AS issues) f;

-- code: 8.1.7.3 a, b
-- clause: 8.1.7.3 a, b
-- zh: 授权和审批:重要操作逐级审批
-- en: approvals, level by level
SELECT CASE WHEN NOT active OR approvals = 0 THEN 'fails' WHEN NOT witness OR reviewed IS NULL THEN 'partly' ELSE 'conforms' END,
    format('Policy enforced: %s. Critical work takes %s approvals, a second person: %s, a review within: %s. Rules with more approvals: %s. Signatures in order (steward.approval_rule): %s.',
        active, approvals, witness, coalesce(reviewed::text, 'none'), more, signatures)
FROM (SELECT approvals, witness, review_within AS reviewed, EXISTS (SELECT FROM steward.activation) AND steward._mode() = 'enforce' AS active,
        (SELECT count(*) FROM steward.rule r WHERE r.approvals > t.approvals) AS more, (SELECT count(*) FROM steward.approval_rule) AS signatures
    FROM steward.tier_policy t WHERE tier = 'critical' AND post = '') f;

-- code: 8.1.7.3 c
-- clause: 8.1.7.3 c
-- zh: 定期审查审批事项
-- en: what takes an approval is reviewed
SELECT CASE WHEN overdue > 0 THEN 'fails' WHEN assessed IS NULL OR assessed < now() THEN 'partly' ELSE 'conforms' END,
    format('Reviews of operations past their term: %s. An assessment of the policy on record is valid until: %s.', overdue, coalesce(assessed::timestamptz(0)::text, 'there is none'))
FROM (SELECT (SELECT count(*) FROM steward._operation WHERE review_due < now() AND runs_done > 0 AND status IN ('executed', 'approved', 'failed', 'armed')) AS overdue,
    (SELECT max(valid_until) FROM steward._record_last WHERE kind = 'assessment' AND good) AS assessed) f;

-- code: 8.1.7.5
-- clause: 8.1.7.5
-- zh: 审核和检查
-- en: regular checks
SELECT CASE WHEN last_run IS NULL THEN 'fails' WHEN overdue OR open > 0 THEN 'partly' ELSE 'conforms' END,
    format('The daily check last came to its end: %s, overdue: %s. Issues that are still open: %s.', coalesce(last_run::timestamptz(0)::text, 'never'), overdue, open)
FROM steward.check_status, (SELECT count(*) AS open FROM steward._integrity_issue WHERE status = 'open') i;

-- code: 8.1.8.2 a
-- clause: 8.1.8.2 a
-- zh: 人员离岗:及时终止访问权限
-- en: leavers lose their access
SELECT CASE WHEN open > 0 THEN 'fails' ELSE 'conforms' END,
    format('Persons who are suspended or whose term is over: %s. Logins of theirs that can still log in: %s.', leavers, open)
FROM (SELECT count(DISTINCT p.name) AS leavers, count(*) FILTER (WHERE r.rolcanlogin) AS open
    FROM steward.person p LEFT JOIN steward.person_login l ON l.person = p.name LEFT JOIN pg_roles r ON r.oid = l.role::oid
    WHERE p.suspended_at IS NOT NULL OR p.valid_until <= now()) f;

-- code: 8.1.8.3
-- clause: 8.1.8.3
-- zh: 安全意识教育和培训、考核
-- en: training and exams
SELECT CASE WHEN needed = 0 THEN 'unknown' WHEN valid = 0 THEN 'fails' WHEN valid < needed THEN 'partly' ELSE 'conforms' END,
    format('Trainings and exams that persons need: %s; valid ones on record: %s.', needed, valid)
FROM (SELECT count(*) AS needed, count(*) FILTER (WHERE l.good AND coalesce(l.valid_until, 'infinity') > now()) AS valid
    FROM steward._record_need n LEFT JOIN steward._record_last l ON l.kind = n.kind AND l.subject = n.subject
    WHERE n.kind IN ('training_new', 'training', 'exam')) f;

-- code: 8.1.8.4
-- clause: 8.1.8.4
-- zh: 外部人员访问管理
-- en: access of outsiders
SELECT CASE WHEN lapsed > 0 THEN 'fails' ELSE 'partly' END,
    format('Persons with an end of their term: %s. Rights granted for a term that is over, and not taken back: %s. Who of them is an outsider only people can say.', terms, lapsed)
FROM (SELECT (SELECT count(*) FROM steward.person WHERE valid_until IS NOT NULL AND suspended_at IS NULL) AS terms,
    (SELECT count(*) FROM steward.role_term WHERE ended_at IS NULL AND until <= now()) AS lapsed) f;

-- code: 8.1.10.6 b
-- clause: 8.1.10.6 b
-- zh: 账户申请、建立、删除受控
-- en: accounts are applied for, made and removed under control
SELECT CASE WHEN NOT active THEN 'fails' WHEN NOT demanded OR lapsed > 0 THEN 'partly' ELSE 'conforms' END,
    format('Policy enforced: %s. The form for rights is demanded: %s, with %s signatures. Rights whose term is over, and not taken back: %s.', active, demanded, sign_offs, lapsed)
FROM (SELECT demanded, sign_offs, EXISTS (SELECT FROM steward.activation) AND steward._mode() = 'enforce' AS active,
        (SELECT count(*) FROM steward.role_term WHERE ended_at IS NULL AND until <= now()) AS lapsed
    FROM steward.form_policy WHERE form = 'role_grant') f;

-- code: 8.1.10.6 e, f
-- clause: 8.1.10.6 e, f
-- zh: 运维日志记录、分析并形成报告
-- en: logs of operation, analysed and reported
SELECT CASE WHEN records = 0 THEN 'fails' WHEN report IS NULL OR report < now() THEN 'partly' ELSE 'conforms' END,
    format('Records in the chain: %s. An audit report on record is valid until: %s.', records, coalesce(report::timestamptz(0)::text, 'there is none'))
FROM (SELECT coalesce((SELECT last_id FROM steward._audit_status()), 0) AS records, (SELECT max(valid_until) FROM steward._record_last WHERE kind = 'audit_report' AND good) AS report) f;

-- code: 8.1.10.6 g, h, i
-- clause: 8.1.10.6 g, h, i
-- zh: 变更性运维、运维工具、远程运维:审批并保留不可更改的日志
-- en: changes, tools and remote work: approved, with a log that cannot be changed
SELECT CASE WHEN active THEN CASE WHEN checklists > 0 THEN 'conforms' ELSE 'partly' END ELSE 'fails' END,
    format('Policy enforced: %s; critical work then runs by the number of its approved operation, which each record carries. Checklists demanded for what is to be cleaned up afterwards: %s.', active, checklists)
FROM (SELECT EXISTS (SELECT FROM steward.activation) AND steward._mode() = 'enforce' AS active,
    (SELECT count(*) FROM steward.checklist_policy WHERE demanded) AS checklists) f;

-- code: 8.1.10.8 b
-- clause: 8.1.10.8 b
-- zh: 配置变更纳入变更范畴
-- en: configuration is under change control
SELECT CASE WHEN kept = 0 THEN 'fails' WHEN drift IS NULL OR drift > 0 OR looked < now() - interval '2 days' THEN 'partly' ELSE 'conforms' END,
    format('Settings and lines of pg_hba.conf that were accepted: %s. Differences at the last daily check: %s (%s).', kept, coalesce(drift::text, 'not checked'),
        coalesce(looked::timestamptz(0)::text, 'never'))
FROM (SELECT count(*) AS kept FROM steward._configuration) k LEFT JOIN (SELECT c.issues AS drift, r.ended_at AS looked
    FROM steward._check_result c JOIN steward._check_run r ON r.id = c.run_id WHERE c.check_name = 'configuration_drift' ORDER BY r.id DESC LIMIT 1) f ON true;

-- code: 8.1.10.9 a, b
-- clause: 8.1.10.9 a, b
-- zh: 密码管理:遵循标准,使用核准的密码技术和产品
-- en: approved cryptography
SELECT CASE WHEN encryption <> 'scram-sha-256' THEN 'fails' ELSE 'partly' END,
    format('Passwords: %s. The chain is SHA-256, sealed secrets AES-256-GCM, codes HMAC-SHA-1: standards, none of them approved commercial cryptography (SM2, SM3, SM4).', encryption)
FROM (SELECT current_setting('password_encryption') AS encryption) f;

-- code: 8.1.10.10 a, b
-- clause: 8.1.10.10 a, b
-- zh: 变更方案评审、申报审批
-- en: changes are reviewed and approved
SELECT CASE WHEN active AND approvals > 0 THEN 'conforms' WHEN approvals > 0 THEN 'partly' ELSE 'fails' END,
    format('Policy enforced: %s. Approvals that a critical change takes: %s. Operations filed in the last year: %s, rejected: %s.', active, approvals, filed, rejected)
FROM (SELECT approvals, EXISTS (SELECT FROM steward.activation) AND steward._mode() = 'enforce' AS active,
        (SELECT count(*) FROM steward._operation WHERE created_at > now() - interval '1 year') AS filed,
        (SELECT count(*) FROM steward._operation WHERE created_at > now() - interval '1 year' AND status = 'rejected') AS rejected
    FROM steward.tier_policy WHERE tier = 'critical' AND post = '') f;

-- code: 8.1.10.10 c
-- clause: 8.1.10.10 c
-- zh: 中止变更并从失败变更中恢复,演练
-- en: a failed change can be undone, and that was tried
SELECT CASE WHEN NOT images THEN 'fails' WHEN tried = 0 THEN 'partly' ELSE 'conforms' END,
    format('Critical runs keep what they change: %s. Restores of a run in the last year: %s.', images, tried)
FROM (SELECT pre_image AS images, (SELECT count(*) FROM steward.pre_image WHERE restored > 0 AND restored_at > now() - interval '1 year') AS tried
    FROM steward.tier_policy WHERE tier = 'critical' AND post = '') f;

-- code: 8.1.10.11
-- clause: 8.1.10.11
-- zh: 备份与恢复管理:识别、方式、频度、介质、保存期
-- en: what is backed up how, how often and for how long
SELECT CASE WHEN procedure IS NULL THEN 'fails' WHEN procedure < now() OR backups = 0 THEN 'partly' ELSE 'conforms' END,
    format('The procedure for backups on record is valid until: %s. Backups on record in the last 30 days: %s.', coalesce(procedure::timestamptz(0)::text, 'there is none'), backups)
FROM (SELECT (SELECT max(coalesce(valid_until, 'infinity')) FROM steward._record_last WHERE kind = 'procedure' AND subject = 'backup' AND good) AS procedure,
    (SELECT count(*) FROM steward._record WHERE kind = 'backup' AND withdrawn_at IS NULL AND done_at > now() - interval '30 days') AS backups) f;

-- code: 8.1.10.12
-- clause: 8.1.10.12
-- zh: 安全事件处置:报告、原因、证据、过程、经验
-- en: incidents are reported and learnt from
SELECT CASE WHEN unreported > 0 OR unanswered > 0 THEN 'fails' WHEN NOT demanded OR unconfirmed > 0 THEN 'partly' ELSE 'conforms' END,
    format('Emergency windows: %s, without a report of the emergency: %s. The report (appendix C) is demanded: %s. Other incidents: %s, without an answer for two hours: %s, not reported or not confirmed by a second person: %s.',
        windows, unreported, demanded, incidents, unanswered, unconfirmed)
FROM (SELECT count(*) AS windows, count(*) FILTER (WHERE NOT EXISTS (SELECT FROM steward._operation_event e WHERE e.op_no = o.op_no AND e.event = 'REPORT INCIDENT')) AS unreported
        FROM steward._operation o WHERE origin = 'break_glass' AND runs_done > 0) w,
    (SELECT count(*) AS incidents,
        count(*) FILTER (WHERE n.responded_at IS NULL AND a.acknowledged_at IS NULL AND n.opened_at < now() - interval '2 hours') AS unanswered,
        count(*) FILTER (WHERE n.confirmed_at IS NULL) AS unconfirmed FROM steward._incident n LEFT JOIN steward._alert a ON a.id = n.alert_id) i,
    (SELECT demanded FROM steward.form_policy WHERE form = 'incident') p;

-- code: 8.1.10.13
-- clause: 8.1.10.13
-- zh: 应急预案管理与演练
-- en: emergency plans and drills
SELECT CASE WHEN plan IS NULL THEN 'fails' WHEN plan < now() OR drill IS NULL OR drill < now() THEN 'partly' ELSE 'conforms' END,
    format('The emergency plan on record is valid until: %s. A successful drill on record is valid until: %s.', coalesce(plan::timestamptz(0)::text, 'there is none'), coalesce(drill::timestamptz(0)::text, 'there is none'))
FROM (SELECT max(coalesce(valid_until, 'infinity')) FILTER (WHERE kind = 'plan') AS plan, max(coalesce(valid_until, 'infinity')) FILTER (WHERE kind = 'drill') AS drill
    FROM steward._record_last WHERE good) f;
