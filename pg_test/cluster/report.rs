//! Reports and searches over the trail: who gets them, what names of attackers become in them, whether they say what they
//! cannot know, and whether a fact that changes changes the verdict.

use postgres::Client;
use postgres::error::SqlState;

use crate::expect::expect_error;
use crate::school::{School, ask};

tests! {
    names_of_attackers_are_only_names_in_a_report,
    a_report_can_be_told_from_a_forged_one,
    a_report_is_on_record_even_if_it_was_rolled_back,
    reports_are_for_those_who_audit_or_configure,
    a_report_says_what_it_cannot_know,
    a_search_finds_what_the_view_finds_and_reads_less,
    a_search_is_for_auditors_and_on_record,
}

const MONTH: &str = "now() - interval '30 days', now() + interval '1 second'";

fn report(session: &mut Client, format: &str, language: &str) -> String {
    ask(session, &format!("SELECT steward.security_report({MONTH}, '{format}', '{language}')"))
}

/// A table, a role, a person, a rule, an application and a statement that would be markup.
fn names_of_attackers_are_only_names_in_a_report() {
    let school = School::inactive();
    school
        .superuser()
        .batch_execute(
            r#"CREATE ROLE "<script>alert(1)</script>" LOGIN;
            CREATE TABLE app."<img src=x onerror=alert(2)>|[a](http://evil)" (id int);
            GRANT ALL ON app."<img src=x onerror=alert(2)>|[a](http://evil)" TO "<script>alert(1)</script>";
            SELECT steward.protect('app."<img src=x onerror=alert(2)>|[a](http://evil)"');
            SELECT steward.set_rule('<b onclick=alert(3)>', 'critical', '{WRITE}', 'img');
            SELECT steward.register_person('<svg/onload=alert(4)>', 'teacher', roles => '{"<script>alert(1)</script>"}');
            SELECT steward.activate()"#,
        )
        .expect("set-up");
    let mut attacker = school.session("<script>alert(1)</script>");
    attacker.batch_execute("SET application_name = '</style><script>alert(5)</script>'").expect("name");
    let denied = attacker.batch_execute(
        r#"INSERT INTO app."<img src=x onerror=alert(2)>|[a](http://evil)" SELECT length('<script>secret-13800000000</script>')"#,
    );
    expect_error(denied, &SqlState::INSUFFICIENT_PRIVILEGE, "", "");
    let mut auditor = school.session("auditor_qian");
    for language in ["zh", "en"] {
        let page = report(&mut auditor, "html", language);
        for shown in ["&lt;svg/onload=alert(4)&gt;", "&lt;img src=x onerror=alert(2)&gt;", "&lt;b onclick=alert(3)&gt;"]
        {
            assert!(page.contains(shown), "{shown} is not told");
        }
        for markup in ["<script", "<img", "<b ", "<svg/", "src=\"", "href="] {
            assert!(!page.contains(markup), "{markup} in the page");
        }
        let text = report(&mut auditor, "markdown", language);
        assert!(text.contains("&lt;svg/onload=alert(4)&gt;"), "{text}");
        for markup in ["<script", "<img", "](", "http://"] {
            assert!(!text.replace("\\]", "").contains(markup), "{markup}: {text}");
        }
        for secret in ["13800000000", "secret", "alert(5)"] {
            assert!(!page.contains(secret) && !text.contains(secret), "{secret} of a statement is shown");
        }
    }
}

fn a_report_can_be_told_from_a_forged_one() {
    let school = School::active();
    let mut auditor = school.session("auditor_qian");
    let page = report(&mut auditor, "html", "en");
    let text = report(&mut auditor, "markdown", "zh");
    school.flush_audit();
    let told = |session: &mut Client, text: &str| {
        let row = session.query_one(
            "SELECT genuine, made_by, record_id > 0, made_at <= now() FROM steward.check_report($1)",
            &[&text],
        );
        let row = row.expect("check_report");
        (
            row.get::<_, Option<bool>>(0),
            row.get::<_, Option<String>>(1),
            row.get::<_, Option<bool>>(2),
            row.get::<_, Option<bool>>(3),
        )
    };
    let genuine = (Some(true), Some("Qian".to_owned()), Some(true), Some(true));
    for text in [&page, &text, &format!("{text}\n"), &page.replace('\n', "\r\n")] {
        assert_eq!(told(&mut auditor, text), genuine);
    }
    let forged = (Some(false), None, None, None);
    let end = page.rfind("after record ").expect("its last line");
    for text in [
        page.replacen("Qian", "Qiam", 1),
        "nothing".to_owned(),
        String::new(),
        format!("{}after record 99999999999", &page[..end]),
        format!("{}after record {}", &page[..end], i64::MAX),
        format!("{}after record 0", &page[..end]),
    ] {
        assert_eq!(told(&mut auditor, &text), forged);
    }
    // Also by the record itself: anybody with a tool for SHA-256 can compare.
    let sha256: String = ask(&mut auditor, &format!("SELECT sha256 FROM steward.check_report($r${page}$r$)"));
    let said =
        format!("operation_type = 'SECURITY REPORT' AND details::json ->> 'sha256' = '{sha256}' AND person = 'Qian'");
    assert_eq!(school.records(&said), 1);
}

fn a_report_is_on_record_even_if_it_was_rolled_back() {
    let school = School::active();
    let mut auditor = school.session("auditor_qian");
    auditor
        .batch_execute(&format!(
            "BEGIN; SELECT steward.security_report({MONTH}); SELECT steward.mlps_report(); ROLLBACK"
        ))
        .expect("read");
    assert_eq!(school.records("operation_type IN ('SECURITY REPORT', 'MLPS REPORT') AND user_id = 'auditor_qian'"), 2);
}

fn reports_are_for_those_who_audit_or_configure() {
    let school = School::active();
    let calls = [
        format!("SELECT steward.security_report({MONTH})"),
        "SELECT * FROM steward.mlps_report()".to_owned(),
        "SELECT * FROM steward.check_report('x')".to_owned(),
    ];
    for login in ["teacher_wang", "clerk_zhao", "reviewer_sun", "region_chen"] {
        for call in &calls {
            let refused = school.session(login).batch_execute(call);
            expect_error(refused, &SqlState::INSUFFICIENT_PRIVILEGE, "capability audit or configure", "");
        }
    }
    for login in ["auditor_qian", "security_han"] {
        for call in &calls {
            school.session(login).batch_execute(call).unwrap_or_else(|error| panic!("{login}: {call}: {error:?}"));
        }
    }
    let mut auditor = school.session("auditor_qian");
    // Another role put on gives nothing and takes nothing away: it is the login that counts.
    let bad = [
        "now(), now()",
        "now(), now() - interval '1 day'",
        "NULL, now()",
        "'-infinity', now()",
        "now() - interval '20 years', now()",
        "now() - interval '1 day', now(), 'pdf'",
        "now() - interval '1 day', now(), 'html', 'fr'",
    ];
    for arguments in bad {
        let refused = auditor.batch_execute(&format!("SELECT steward.security_report({arguments})"));
        expect_error(refused, &SqlState::INVALID_PARAMETER_VALUE, "", "");
    }
}

fn a_report_says_what_it_cannot_know() {
    let school = School::active();
    let mut auditor = school.session("auditor_qian");
    let first = report(&mut auditor, "markdown", "en");
    for gap in ["was never verified", "no run of the daily check", "nothing before that is on record"] {
        assert!(first.contains(gap), "{gap}: {first}");
    }
    // The month before the extension was installed had no daily check to miss.
    assert!(first.contains("On 1 days no run") || first.contains("On 2 days no run"), "{first}");
    school.superuser().batch_execute("SELECT steward.daily_check()").expect("daily_check");
    school.flush_audit();
    school.superuser().batch_execute("SELECT steward.verify_chain()").expect("verify_chain");
    let second = report(&mut auditor, "markdown", "en");
    assert!(!second.contains("was never verified"), "{second}");
    // The report's own records, and what came since, are behind what was verified.
    assert!(second.contains("The chain was verified up to record"), "{second}");
    assert!(second.contains("configuration_drift") || second.contains("configuration\\_drift"), "{second}");
    let archived: bool = ask(&mut school.superuser(), "SELECT count(*) = 0 FROM steward.audit_archive");
    assert!(archived && !second.contains("are archived"));
}

fn a_search_finds_what_the_view_finds_and_reads_less() {
    let school = School::inactive();
    let set_up = "CREATE ROLE staff; GRANT staff TO teacher_wang; SELECT steward.activate()";
    school.superuser().batch_execute(set_up).expect("set-up");
    let mut teacher = school.session("teacher_wang");
    teacher
        .batch_execute(
            "DO $$ BEGIN FOR n IN 1..20 LOOP UPDATE app.student SET note = 'x' WHERE id = 1 + n % 9; END LOOP; END $$",
        )
        .expect("work");
    for _ in 0..300 {
        teacher.batch_execute("SELECT count(*) FROM app.guardian").expect("read");
    }
    expect_error(teacher.batch_execute("TRUNCATE app.guardian"), &SqlState::INSUFFICIENT_PRIVILEGE, "", "");
    school.flush_audit();
    let mut auditor = school.session("auditor_qian");
    // One moment in the middle, to the microsecond.
    let ids = |session: &mut Client, query: &str| -> Vec<i64> {
        session
            .query(query, &[])
            .unwrap_or_else(|error| panic!("{query}: {error:?}"))
            .iter()
            .map(|row| row.get(0))
            .collect()
    };
    let bounds = "(SELECT operation_time FROM steward.audit_log WHERE operation_type = 'SELECT' AND table_name = 'app.guardian' ORDER BY id LIMIT 1 OFFSET";
    for (search, condition) in [
        ("", "true"),
        (", person => 'Wang'", "person = 'Wang'"),
        (", role => 'teacher_wang', operation => 'UPDATE'", "user_id = 'teacher_wang' AND operation_type = 'UPDATE'"),
        (", relation => 'app.guardian', result => 'DENIED'", "'app.guardian' = ANY (relations) AND result = 'DENIED'"),
        (", tier => 'critical'", "tier = 'critical'"),
        (", rule => 'structure'", "rule = 'structure'"),
        // A group, by who is in it; a role whose rights were used; all that a definition says, together.
        (", role => 'staff'", "user_id IN ('teacher_wang', 'staff') OR effective_user = 'staff'"),
        (
            ", person => 'Wang', role => 'staff', operation => 'UPDATE', relation => 'app.student', tier => 'normal'",
            "person = 'Wang' AND operation_type = 'UPDATE' AND table_name = 'app.student' AND tier = 'normal'",
        ),
        (", operation => 'x'' OR true --'", "false"),
    ] {
        for (from, to) in [
            ("now() - interval '1 day'".to_owned(), "now()".to_owned()),
            (format!("{bounds} 100)"), format!("{bounds} 110)")),
        ] {
            // Both at one moment: the search itself is on record too.
            let both = format!(
                "WITH l AS (SELECT * FROM steward.audit_log), f AS (SELECT {from} AS a, {to} AS b),
                    s AS (SELECT s.id FROM f, LATERAL steward.search_log(f.a, f.b, max_rows => 100000, late => '1 microsecond'{search}) s)
                SELECT 1::int8 FROM (SELECT id FROM s EXCEPT SELECT l.id FROM l, f WHERE operation_time >= a AND operation_time < b AND ({condition})) x
                UNION ALL SELECT 2 FROM (SELECT l.id FROM l, f WHERE operation_time >= a AND operation_time < b AND ({condition})
                    AND l.operation_type NOT IN ('SEARCH LOG') EXCEPT SELECT id FROM s) y"
            );
            assert_eq!(ids(&mut auditor, &both), Vec::<i64>::new(), "{from} {search}");
        }
    }
    let page = ids(
        &mut auditor,
        "SELECT id FROM steward.search_log(now() - interval '1 day', now(), operation => 'SELECT', max_rows => 10)",
    );
    let next = ids(
        &mut auditor,
        &format!(
            "SELECT id FROM steward.search_log(now() - interval '1 day', now(), operation => 'SELECT', max_rows => 10, after_id => {})",
            page[9]
        ),
    );
    assert!(page.len() == 10 && next.len() == 10 && next[0] > page[9], "{page:?} {next:?}");
    // Ten of three hundred are read for ten of three hundred.
    let stretch =
        format!("SELECT last_id - first_id FROM steward._log_ids({bounds} 100), {bounds} 110), '0', NULL, NULL)");
    let read = ids(&mut auditor, &stretch)[0];
    assert!((9..=14).contains(&read), "{read} records are read for ten");
}

fn a_search_is_for_auditors_and_on_record() {
    let school = School::active();
    for login in ["teacher_wang", "security_han"] {
        let refused = school.session(login).batch_execute(&format!("SELECT * FROM steward.search_log({MONTH})"));
        expect_error(refused, &SqlState::INSUFFICIENT_PRIVILEGE, "capability audit", "");
    }
    let mut auditor = school.session("auditor_qian");
    auditor
        .batch_execute(&format!(
            "BEGIN; SELECT * FROM steward.search_log({MONTH}, person => 'Wang', relation => 'app.student'); ROLLBACK"
        ))
        .expect("search");
    let said = "operation_type = 'SEARCH LOG' AND person = 'Qian' AND details::json -> 'asked' ->> 'person' = 'Wang' AND table_name = 'app.student'";
    assert_eq!(school.records(said), 1);
    auditor.batch_execute("SELECT count(*) FROM steward.audit_log").expect("view");
    let read = "operation_type = 'SELECT' AND user_id = 'auditor_qian' AND 'steward.audit_log' = ANY (relations)";
    assert!(school.records(read) >= 1, "reading the view is on record");
    let past = "operation_type = 'SELECT' AND user_id = 'postgres' AND 'steward.audit_log' = ANY (relations)
        AND statement LIKE 'SELECT count(*) FROM %batch%'";
    assert_eq!(school.records(past), 0);
    let journal = "SELECT count(*) FROM steward.journal_0 WHERE batch IS NOT NULL";
    school.superuser().batch_execute(journal).expect("journal");
    assert!(school.records(past) >= 1, "reading past the views is on record");
    for bad in [
        "now(), NULL",
        "now(), now()",
        "now() - interval '1 day', now(), late => NULL",
        "now() - interval '1 day', now(), late => '-1 s'",
    ] {
        let refused = auditor.batch_execute(&format!("SELECT * FROM steward.search_log({bad})"));
        expect_error(refused, &SqlState::INVALID_PARAMETER_VALUE, "", "");
    }
}
