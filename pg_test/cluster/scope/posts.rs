//! The posts of the e-card pack with its scopes: what each sees of 20,480 pupils, with the statements of its day.

use postgres::Client;
use postgres::error::SqlState;

use crate::cluster::Cluster;
use crate::expect::expect_error;
use crate::school::{HOME, ask};
use crate::traffic::platform_with;

tests! {
    every_post_sees_its_rows,
}

const REFUSED: &SqlState = &SqlState::INSUFFICIENT_PRIVILEGE;

/// The pack's file without what psql alone understands.
pub fn scopes() -> String {
    let file = include_str!("../../../sql/packs/education_ecard/scopes.sql");
    file.lines().filter(|line| !line.starts_with('\\')).map(|line| format!("{line}\n")).collect()
}

const PUPILS: &str = "SELECT count(student_id) FROM app.student";

fn every_post_sees_its_rows() {
    let (cluster, mut superuser) = platform_with(&scopes());
    assert_eq!(ask::<i64>(&mut superuser, "SELECT count(*) FROM steward.scope_commands() WHERE NOT in_force"), 0);
    parent(&cluster);
    teacher(&cluster, &mut superuser);
    clerk(&cluster, &mut superuser);
    region_admin(&cluster, &mut superuser);
    // The teacher has enrolled one more.
    for (login, seen) in [("reviewer_sun", 20_481), ("app_service", 20_481)] {
        assert_eq!(ask::<i64>(&mut cluster.connect(login, HOME), PUPILS), seen, "{login}");
    }
    for login in ["auditor_qian", "ops_wu", "security_han"] {
        expect_error(cluster.connect(login, HOME).batch_execute(PUPILS), REFUSED, "", "");
    }
}

/// Own child, its card and what was bought with it.
fn parent(cluster: &Cluster) {
    let mut parent = cluster.connect("parent_xu", HOME);
    assert_eq!(ask::<Vec<i64>>(&mut parent, "SELECT array_agg(student_id) FROM app.student"), [8]);
    assert_eq!(ask::<i64>(&mut parent, "SELECT count(DISTINCT student_id) FROM app.guardian"), 1);
    assert_eq!(ask::<Vec<i64>>(&mut parent, "SELECT array_agg(card_no) FROM app.card"), [3_205_260_000_000_008]);
    let foreign = "SELECT count(*) FROM app.card_transaction WHERE card_no <> 3205260000000008";
    assert_eq!(ask::<i64>(&mut parent, foreign), 0);
    assert!(ask::<i64>(&mut parent, "SELECT count(*) FROM app.card_transaction") > 0);
    assert_eq!(
        parent.execute("UPDATE app.student SET phone = '13952410008' WHERE student_id = 8", &[]).expect("own"),
        1
    );
    assert_eq!(parent.execute("UPDATE app.student SET phone = '13952410009'", &[]).expect("no other"), 1);
}

fn teacher(cluster: &Cluster, superuser: &mut Client) {
    let mut teacher = cluster.connect("teacher_wang", HOME);
    assert_eq!(ask::<i64>(&mut teacher, PUPILS), 512);
    assert_eq!(ask::<i64>(&mut teacher, "SELECT count(*) FROM app.card JOIN app.student USING (student_id)"), 520);
    let guardians = "SELECT count(*) FROM app.guardian";
    let own: i64 = ask(superuser, &format!("{guardians} WHERE student_id BETWEEN 1 AND 512"));
    assert_eq!(ask::<i64>(&mut teacher, guardians), own);
    let phone = "UPDATE app.student SET phone = '13862051120', updated_at = now() WHERE student_id";
    assert_eq!(teacher.execute(&format!("{phone} = 20"), &[]).expect("own pupil"), 1);
    assert_eq!(teacher.execute(&format!("{phone} = 2000"), &[]).expect("another's pupil"), 0);
    let insert = "INSERT INTO app.student (school_id, grade, class_no, name, gender, birth_date, id_card, phone, address, enrolled_on)
        VALUES (2, 1, 2, '诸葛云帆', '男', '2020-03-15', '320508202003159112', '13915520311', 'x', '2026-11-20')";
    expect_error(teacher.batch_execute(insert), REFUSED, "", "");
    teacher.batch_execute(&insert.replace("VALUES (2,", "VALUES (1,")).expect("the own school enrols");
}

fn clerk(cluster: &Cluster, superuser: &mut Client) {
    let open = "SELECT count(DISTINCT student_id) FROM app.card_order WHERE status = 'open' AND clerk = 'clerk_zhao'";
    let waiting: i64 = ask(superuser, open);
    let mut clerk = cluster.connect("clerk_zhao", HOME);
    assert!(waiting > 0);
    assert_eq!(ask::<i64>(&mut clerk, PUPILS), waiting);
    assert_eq!(
        ask::<i64>(&mut clerk, "SELECT count(student_id) FROM app.student WHERE student_id = 101"),
        0,
        "no order, no purpose"
    );
    let order = "INSERT INTO app.card_order (student_id, old_card_no, kind, clerk) VALUES (101, 3205260000000101, 'lost', 'clerk_zhao')";
    clerk.batch_execute(order).expect("an order");
    assert_eq!(ask::<String>(&mut clerk, "SELECT status FROM app.card WHERE student_id = 101"), "active");
    clerk
        .batch_execute("UPDATE app.card SET status = 'lost' WHERE card_no = 3205260000000101")
        .expect("the card is blocked");
    clerk.batch_execute("UPDATE app.card_order SET status = 'cancelled', closed_at = now() WHERE student_id = 101 AND status = 'open'").expect("over");
    assert_eq!(ask::<i64>(&mut clerk, "SELECT count(student_id) FROM app.student WHERE student_id = 101"), 0);
    expect_error(clerk.batch_execute(&order.replace("'clerk_zhao'", "'other'")), REFUSED, "", "");
}

fn region_admin(cluster: &Cluster, superuser: &mut Client) {
    let mut chen = cluster.connect("region_chen", HOME);
    let own = "SELECT count(*) FROM app.student JOIN app.school USING (school_id) WHERE region_code = '320508'";
    let pupils: i64 = ask(superuser, own);
    assert!(pupils > 512 && pupils < 20_000, "{pupils}");
    assert_eq!(ask::<i64>(&mut chen, PUPILS), pupils);
    assert_eq!(ask::<i64>(&mut chen, own), pupils);
}
