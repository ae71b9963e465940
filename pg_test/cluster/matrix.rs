//! The manual's roles (2.1) and its permission matrix (2.2), cell by cell, on the pack's own grants and persons.
//!
//! A ✓ runs, a ✗ is refused with 42501; what a post does in twos is refused alone and runs with a second person.

use std::collections::BTreeSet;

use postgres::Client;
use postgres::error::SqlState;

use crate::cluster::Cluster;
use crate::school::{HOME, ask, execute};
use crate::scope::posts::scopes;
use crate::traffic::platform_with;

tests! {
    no_cell_of_the_manual_is_missing,
    every_cell_of_the_roles,
    every_cell_of_the_permission_matrix,
    every_cell_of_scopes,
    every_cell_of_export_limits,
}

/// What a cell of the table says.
enum Cell {
    /// ✓: the statement runs.
    Runs(&'static str),
    /// ✗: 42501, by PostgreSQL's privileges or by the policy.
    Refused(&'static str),
    /// ✓ in twos: refused alone; approved where its tier demands that, confirmed and executed it runs.
    Accompanied(&'static str),
    /// ✓: a vote on somebody else's operation counts. ✗ for everybody else.
    Approves,
    DoesNotApprove,
    /// ✓: a base backup can be taken.
    BacksUp,
    /// ✗: with the pack's scopes the login sees no such row, and there are some.
    Hidden(&'static str),
    /// ✗: with a limit of export it is refused.
    Capped(&'static str),
}
use Cell::*;

/// Role and line of the manual, login, what it says.
type Line = (&'static str, &'static str, &'static str, Cell);

const ROLES: [Line; 57] = [
    ("家长用户", "✓ 查看基本信息", "parent_xu", Runs("SELECT name, grade FROM app.student WHERE student_id = 101")),
    ("家长用户", "✓ 修改联系方式", "parent_xu", Runs("UPDATE app.student SET phone = phone WHERE student_id = 101")),
    ("家长用户", "✓ 查看卡状态", "parent_xu", Runs("SELECT status FROM app.card WHERE student_id = 101")),
    ("家长用户", "✗ 查看其他学生", "parent_xu", Hidden("SELECT count(*) FROM app.student WHERE student_id <> 8")),
    ("家长用户", "✗ 修改关键信息", "parent_xu", Refused("UPDATE app.student SET name = name WHERE student_id = 101")),
    (
        "家长用户",
        "✗ 修改关键信息",
        "parent_xu",
        Refused("UPDATE app.student SET id_card = id_card WHERE student_id = 101"),
    ),
    (
        "家长用户",
        "✗ 批量操作",
        "parent_xu",
        Refused("UPDATE app.student SET phone = phone WHERE student_id BETWEEN 101 AND 150"),
    ),
    ("家长用户", "✗ 批量操作", "parent_xu", Refused("COPY app.guardian FROM STDIN")),
    ("家长用户", "✗ 修改关键信息", "parent_xu", Refused("DELETE FROM app.guardian WHERE student_id = 101")),
    ("学校教师", "✓ 新生录入", "teacher_wang", Runs(ENROL)),
    (
        "学校教师",
        "✓ 修改非关键信息",
        "teacher_wang",
        Runs("UPDATE app.student SET class_no = 2 WHERE student_id = 101"),
    ),
    ("学校教师", "✓ 本校数据查询", "teacher_wang", Runs("SELECT * FROM app.student WHERE student_id = 101")),
    ("学校教师", "✗ 跨校查询", "teacher_wang", Hidden("SELECT count(*) FROM app.student WHERE school_id <> 1")),
    ("学校教师", "✗ 删除记录", "teacher_wang", Refused("DELETE FROM app.student WHERE student_id = 101")),
    ("学校教师", "✗ 删除记录", "teacher_wang", Refused("TRUNCATE app.guardian")),
    ("学校教师", "✗ 删除记录", "teacher_wang", Refused("DELETE FROM app.guardian WHERE student_id = 101")),
    ("学校教师", "✗ 批量导出", "teacher_wang", Capped("SELECT string_agg(name, ',') FROM app.student")),
    (
        "客服人员",
        "✓ 学生信息查询(补卡用)",
        "clerk_zhao",
        Runs("SELECT name, class_no FROM app.student WHERE student_id = 101"),
    ),
    (
        "客服人员",
        "✓ 处理补换卡订单",
        "clerk_zhao",
        Runs("UPDATE app.card_order SET status = 'cancelled' WHERE order_id = 1"),
    ),
    ("客服人员", "✓ 查询卡状态", "clerk_zhao", Runs("SELECT status FROM app.card WHERE student_id = 101")),
    ("客服人员", "✗ 查看敏感信息", "clerk_zhao", Refused("SELECT id_card FROM app.student WHERE student_id = 101")),
    ("客服人员", "✗ 查看敏感信息", "clerk_zhao", Refused("SELECT address FROM app.student WHERE student_id = 101")),
    ("客服人员", "✗ 修改数据", "clerk_zhao", Refused("UPDATE app.student SET class_no = 2 WHERE student_id = 101")),
    ("客服人员", "✗ 修改数据", "clerk_zhao", Refused("DELETE FROM app.card_order WHERE order_id = 1")),
    ("客服人员", "✗ 批量导出", "clerk_zhao", Refused("COPY app.student TO STDOUT")),
    ("客服人员", "✗ 批量导出", "clerk_zhao", Capped("SELECT string_agg(name, ',') FROM app.student")),
    (
        "系统(区域)管理员",
        "✓ 信息修改",
        "region_chen",
        Accompanied("UPDATE app.student SET class_no = 2 WHERE student_id = 101"),
    ),
    (
        "系统(区域)管理员",
        "✓ 敏感信息",
        "region_chen",
        Runs("SELECT id_card, address FROM app.student WHERE student_id = 101"),
    ),
    (
        "系统(区域)管理员",
        "✓ 执行任务",
        "region_chen",
        Accompanied("UPDATE app.student SET class_no = 2 WHERE student_id <= 60"),
    ),
    (
        "系统(区域)管理员",
        "✓ 用户账号管理",
        "region_chen",
        Accompanied("UPDATE app.users SET status = 'closed' WHERE user_id = 1"),
    ),
    ("系统(区域)管理员", "✗ 参与业务审批", "region_chen", DoesNotApprove),
    (
        "系统(区域)管理员",
        "✗ 单独操作",
        "region_chen",
        Refused("UPDATE app.student SET class_no = 2 WHERE student_id = 101"),
    ),
    ("审核管理员", "✓ 业务审批", "reviewer_sun", Approves),
    ("审核管理员", "✓ 信息查询", "reviewer_sun", Runs("SELECT * FROM app.student WHERE student_id = 101")),
    ("审核管理员", "✗ 修改数据", "reviewer_sun", Refused("UPDATE app.student SET class_no = 2 WHERE student_id = 101")),
    (
        "审核管理员",
        "✗ 用户账号管理",
        "reviewer_sun",
        Refused("UPDATE app.users SET status = 'closed' WHERE user_id = 1"),
    ),
    ("审核管理员", "✗ 用户账号管理", "reviewer_sun", Refused("CREATE ROLE somebody")),
    ("审核管理员", "✗ 单独操作", "reviewer_sun", Refused("SELECT steward.request('SELECT 1', purpose => 'x')")),
    ("审核管理员", "✗ 单独操作", "reviewer_sun", Refused("INSERT INTO app.school SELECT * FROM app.school")),
    ("安全审计管理员", "✓ 查看所有日志", "auditor_qian", Runs("SELECT count(*) FROM steward.audit_log")),
    (
        "安全审计管理员",
        "✓ 生成安全报告",
        "auditor_qian",
        Runs("SELECT steward.security_report(now() - interval '30 days', now())"),
    ),
    (
        "安全审计管理员",
        "✓ 设置监控规则",
        "auditor_qian",
        Runs("SELECT steward.set_alert_rule('truncations', 'major', operation_types => '{TRUNCATE}')"),
    ),
    (
        "安全审计管理员",
        "✓ 调查安全事件",
        "auditor_qian",
        Runs("SELECT * FROM steward.audit_log WHERE result = 'DENIED'"),
    ),
    (
        "安全审计管理员",
        "✗ 修改业务数据",
        "auditor_qian",
        Refused("UPDATE app.student SET class_no = 2 WHERE student_id = 101"),
    ),
    ("安全审计管理员", "✗ 执行业务操作", "auditor_qian", Refused("SELECT steward.request('SELECT 1', purpose => 'x')")),
    ("安全审计管理员", "✗ 执行业务操作", "auditor_qian", Refused("INSERT INTO app.card_order DEFAULT VALUES")),
    ("安全审计管理员", "✗ 执行业务操作", "auditor_qian", DoesNotApprove),
    (
        "安全审计管理员",
        "✗ 查看敏感信息",
        "auditor_qian",
        Refused("SELECT id_card FROM app.student WHERE student_id = 101"),
    ),
    ("系统运维人员", "✓ 服务器维护", "ops_wu", Runs("SELECT count(*) FROM pg_ls_waldir()")),
    ("系统运维人员", "✓ 数据库备份", "postgres", BacksUp),
    ("系统运维人员", "✓ 执行审批脚本", "postgres", Accompanied("ALTER TABLE app.card ADD COLUMN note text")),
    ("系统运维人员", "✗ 查看业务数据", "ops_wu", Refused("SELECT name FROM app.student WHERE student_id = 101")),
    ("系统运维人员", "✗ 查看业务数据", "ops_zheng", Refused("COPY app.card_transaction TO STDOUT")),
    ("系统运维人员", "✗ 参与业务审批", "ops_wu", DoesNotApprove),
    ("系统运维人员", "✗ 参与业务审批", "postgres", DoesNotApprove),
    ("系统运维人员", "✗ 单独操作", "postgres", Refused("UPDATE app.student SET class_no = 2 WHERE student_id = 101")),
    ("系统运维人员", "✗ 单独操作", "postgres", Refused("ALTER TABLE app.card ADD COLUMN alone text")),
];

/// The columns of 2.2. Its one «安全管理员» is two posts here, the auditor and the security officer.
const MATRIX: [Line; 38] = [
    ("数据查询", "学校教师 ✅(本校)", "teacher_wang", Runs("SELECT * FROM app.student WHERE student_id = 101")),
    ("数据查询", "客服人员 ✅(授权)", "clerk_zhao", Runs("SELECT name FROM app.student WHERE student_id = 101")),
    ("数据查询", "系统管理员 ❌", "ops_wu", Refused("SELECT name FROM app.student WHERE student_id = 101")),
    ("数据查询", "系统管理员 ❌", "ops_zheng", Refused("SELECT balance FROM app.card WHERE student_id = 101")),
    ("数据查询", "安全管理员 ✅(审计)", "auditor_qian", Runs("SELECT count(*) FROM steward.audit_log")),
    ("数据查询", "安全管理员 ✅(审计)", "auditor_qian", Refused("SELECT name FROM app.student WHERE student_id = 101")),
    ("数据查询", "安全管理员 ✅(审计)", "security_han", Refused("SELECT name FROM app.student WHERE student_id = 101")),
    (
        "数据修改",
        "学校教师 ✅(非关键)",
        "teacher_wang",
        Runs("UPDATE app.student SET class_no = 2 WHERE student_id = 101"),
    ),
    (
        "数据修改",
        "学校教师 ✅(非关键)",
        "teacher_wang",
        Refused("UPDATE app.student SET id_card = id_card WHERE student_id = 101"),
    ),
    ("数据修改", "客服人员 ❌", "clerk_zhao", Refused("UPDATE app.student SET class_no = 2 WHERE student_id = 101")),
    (
        "数据修改",
        "系统管理员 ✅(脚本)",
        "postgres",
        Accompanied("UPDATE app.student SET class_no = 3 WHERE student_id <= 55"),
    ),
    (
        "数据修改",
        "系统管理员 ✅(脚本)",
        "region_chen",
        Accompanied("UPDATE app.student SET class_no = 3 WHERE student_id = 101"),
    ),
    (
        "数据修改",
        "系统管理员 ✅(脚本)",
        "ops_wu",
        Refused("UPDATE app.student SET class_no = 3 WHERE student_id = 101"),
    ),
    (
        "数据修改",
        "安全管理员 ❌",
        "auditor_qian",
        Refused("UPDATE app.student SET class_no = 2 WHERE student_id = 101"),
    ),
    (
        "数据修改",
        "安全管理员 ❌",
        "security_han",
        Refused("UPDATE app.student SET class_no = 2 WHERE student_id = 101"),
    ),
    ("关键操作", "学校教师 ❌", "teacher_wang", Refused("UPDATE app.student SET class_no = 2 WHERE student_id <= 60")),
    ("关键操作", "客服人员 ❌", "clerk_zhao", Refused("TRUNCATE app.card_order")),
    (
        "关键操作",
        "客服人员 ❌",
        "clerk_zhao",
        Refused("SELECT steward.request('TRUNCATE app.card_order', purpose => 'x')"),
    ),
    (
        "关键操作",
        "客服人员 ❌",
        "clerk_zhao",
        Refused("UPDATE app.card_order SET status = status WHERE order_id <= 60"),
    ),
    (
        "关键操作",
        "系统管理员 ✅(双人)",
        "region_chen",
        Accompanied("UPDATE app.student SET class_no = 4 WHERE student_id <= 60"),
    ),
    ("关键操作", "系统管理员 ✅(双人)", "postgres", Accompanied("ALTER TABLE app.card_order ADD COLUMN note text")),
    (
        "关键操作",
        "安全管理员 ❌",
        "auditor_qian",
        Refused("SELECT steward.request('TRUNCATE app.card', purpose => 'x')"),
    ),
    ("关键操作", "安全管理员 ❌", "security_han", Refused("ALTER TABLE app.card_order ADD COLUMN other text")),
    ("系统运维", "学校教师 ❌", "teacher_wang", Refused("SELECT count(*) FROM pg_ls_waldir()")),
    ("系统运维", "客服人员 ❌", "clerk_zhao", Refused("SELECT count(*) FROM pg_ls_waldir()")),
    ("系统运维", "系统管理员 ✅", "ops_wu", Runs("SELECT count(*) FROM pg_ls_waldir()")),
    ("系统运维", "安全管理员 ❌", "auditor_qian", Refused("SELECT count(*) FROM pg_ls_waldir()")),
    ("系统运维", "安全管理员 ❌", "security_han", Refused("SELECT count(*) FROM pg_ls_waldir()")),
    ("系统运维", "安全管理员 ❌", "security_han", Refused("ALTER SYSTEM SET work_mem = '8MB'")),
    ("系统运维", "学校教师 ❌", "teacher_wang", Refused("SELECT pg_reload_conf()")),
    ("安全审计", "学校教师 ❌", "teacher_wang", Refused("SELECT count(*) FROM steward.audit_log")),
    ("安全审计", "客服人员 ❌", "clerk_zhao", Refused("SELECT count(*) FROM steward.audit_log")),
    ("安全审计", "系统管理员 ❌", "ops_wu", Refused("SELECT count(*) FROM steward.audit_log")),
    ("安全审计", "系统管理员 ❌", "region_chen", Refused("SELECT count(*) FROM steward.audit_log")),
    ("安全审计", "系统管理员 ❌", "postgres", Refused("DELETE FROM steward.audit_log")),
    ("安全审计", "安全管理员 ✅", "auditor_qian", Runs("SELECT count(*) FROM steward.audit_logs")),
    ("安全审计", "安全管理员 ✅", "auditor_qian", Runs("SELECT ok FROM steward.verify_chain()")),
    ("安全审计", "安全管理员 ✅", "auditor_qian", Refused("DELETE FROM steward.audit_log")),
];

const ENROL: &str = "INSERT INTO app.student (school_id, grade, class_no, name, gender, birth_date, id_card, phone, address, enrolled_on)
    SELECT school_id, 1, 1, '新生', '女', '2020-03-07', '320508202003070022', '13862051120', '姑苏区', '2026-09-01'
    FROM app.student WHERE student_id = 101";

/// How many lines the manual has for each role in 2.1, what is allowed and what is forbidden.
const LINES: [(&str, usize, usize); 7] = [
    ("家长用户", 3, 3),
    ("学校教师", 3, 3),
    ("客服人员", 3, 3),
    ("系统(区域)管理员", 4, 2),
    ("审核管理员", 2, 3),
    ("安全审计管理员", 4, 3),
    ("系统运维人员", 3, 3),
];

fn no_cell_of_the_manual_is_missing() {
    for (role, allowed, forbidden) in LINES {
        for (mark, lines) in [("✓", allowed), ("✗", forbidden)] {
            let known: BTreeSet<&str> =
                ROLES.iter().filter(|line| line.0 == role && line.1.starts_with(mark)).map(|line| line.1).collect();
            assert_eq!(known.len(), lines, "{role} {mark}: {known:?}");
        }
    }
    let (operations, columns) = (
        ["数据查询", "数据修改", "关键操作", "系统运维", "安全审计"],
        ["学校教师", "客服人员", "系统管理员", "安全管理员"],
    );
    for (operation, column) in operations.iter().flat_map(|one| columns.iter().map(move |other| (one, other))) {
        let tested = MATRIX.iter().any(|line| line.0 == *operation && line.1.starts_with(column));
        assert!(tested, "{operation}, {column}");
    }
}

fn every_cell_of_the_roles() {
    // Who makes backups is the policy's word.
    let licence = "SELECT steward.set_login_policy('postgres', replication => true)";
    every_cell(ROLES.iter().filter(|line| !matches!(line.3, Hidden(_) | Capped(_))), licence);
}

fn every_cell_of_the_permission_matrix() {
    every_cell(MATRIX.iter(), "");
}

/// Scopes are loaded by choice: the other cells are about what holds without them.
fn every_cell_of_scopes() {
    every_cell(ROLES.iter().filter(|line| matches!(line.3, Hidden(_))), &scopes());
}

fn every_cell_of_export_limits() {
    let limits = "SELECT steward.set_export_limit('ecard_teacher', 100, 1000); SELECT steward.set_export_limit('ecard_clerk', 100, 1000)";
    every_cell(ROLES.iter().filter(|line| matches!(line.3, Capped(_))), limits);
}

fn every_cell<'a>(lines: impl Iterator<Item = &'a Line>, policy: &str) {
    let (cluster, mut superuser) = platform_with(policy);
    let (mut cells, mut wrong) = (0, Vec::new());
    for (role, line, login, cell) in lines {
        cells += 1;
        if let Err(what) = check(&cluster, &mut superuser, login, cell) {
            wrong.push(format!("{role}: {line} ({login}): {what}"));
        }
    }
    println!("count: matrix: {cells} cells");
    assert!(cells > 0, "no such cell");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What is wrong with a cell.
fn check(cluster: &Cluster, superuser: &mut Client, login: &str, cell: &Cell) -> Result<(), String> {
    match cell {
        Runs(statement) => attempt(cluster, login, statement).map_err(|error| format!("{error:?}")),
        Refused(statement) => refused(attempt(cluster, login, statement)),
        Accompanied(script) => {
            refused(attempt(cluster, login, script))?;
            accompanied(cluster, login, script).map_err(|error| format!("in twos: {error:?}"))
        }
        Approves => vote(cluster, login).map_err(|error| format!("{error:?}")),
        DoesNotApprove => refused(vote(cluster, login)),
        BacksUp => {
            drop(cluster.base_backup(&[]));
            Ok(())
        }
        Hidden(count) => {
            let (all, seen) = (ask::<i64>(superuser, count), ask::<i64>(&mut cluster.connect(login, HOME), count));
            if all > 0 && seen == 0 { Ok(()) } else { Err(format!("{seen} of {all} rows are seen")) }
        }
        Capped(statement) => refused(attempt(cluster, login, statement)),
    }
}

/// A statement of this login, undone afterwards.
fn attempt(cluster: &Cluster, login: &str, statement: &str) -> Result<(), postgres::Error> {
    cluster.connect(login, HOME).batch_execute(&format!("BEGIN; {statement}; ROLLBACK"))
}

fn refused(result: Result<(), postgres::Error>) -> Result<(), String> {
    match result {
        Ok(()) => Err("is not refused".to_owned()),
        Err(error) if error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) => Ok(()),
        Err(error) => Err(format!("is refused as another error: {error:?}")),
    }
}

/// Files, has it approved as often as that is demanded, confirmed by somebody else, and executes.
fn accompanied(cluster: &Cluster, login: &str, script: &str) -> Result<(), postgres::Error> {
    let mut applicant = cluster.connect(login, HOME);
    let call = "SELECT steward.request($1, purpose => 'matrix')";
    let op_no: String = applicant.query_one(call, &[&script])?.get(0);
    let filed = applicant.query_one("SELECT digest, approvals_needed FROM steward.show($1)", &[&op_no])?;
    let (digest, needed): (String, i32) = (filed.get(0), filed.get(1));
    for reviewer in ["reviewer_sun", "reviewer_zhou"].into_iter().take(needed as usize) {
        cluster.connect(reviewer, HOME).query("SELECT steward.approve($1, $2)", &[&op_no, &digest])?;
    }
    cluster.connect("region_liu", HOME).query("SELECT steward.confirm($1, $2)", &[&op_no, &digest])?;
    execute(&mut applicant, &op_no).map(drop)
}

/// Somebody else's operation, approved by this login.
fn vote(cluster: &Cluster, login: &str) -> Result<(), postgres::Error> {
    let mut teacher = cluster.connect("teacher_li", HOME);
    let bulk =
        "SELECT steward.request('UPDATE app.student SET class_no = 2 WHERE student_id <= 60', purpose => 'matrix')";
    let op_no: String = ask(&mut teacher, bulk);
    let digest: String = teacher.query_one("SELECT digest FROM steward.show($1)", &[&op_no])?.get(0);
    cluster.connect(login, HOME).query("SELECT steward.approve($1, $2)", &[&op_no, &digest]).map(drop)
}
