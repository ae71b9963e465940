//! What is asked of masked columns by conditions, sorting and joins, each in every protocol (cases 12, 13, 23, 35).

use super::desk_with;
use super::protocol::Must::{Refuse, Show};
use super::protocol::{everywhere, hold, wire};

tests! {
    what_is_asked,
    what_an_equality_may_ask,
    what_pseudonyms_join_and_who_sees_their_key,
}

/// Case 12: answers are those of a table that holds the masks.
fn what_is_asked() {
    let school = desk_with(
        "CREATE TABLE desk.copy AS SELECT id, school_id, steward.mask_value('phone', phone) AS phone FROM desk.student; GRANT SELECT ON desk.copy TO cs",
    );
    let mut clerk = wire(&school, "cs");
    for (question, values) in [
        ("count(*) FROM {} WHERE phone = $1", &["13800000007"][..]),
        ("count(*) FROM {} WHERE phone LIKE $1", &["1380000000%"]),
        ("count(*) FROM {} WHERE phone BETWEEN $1 AND $2", &["13800000000", "13800000050"]),
        ("count(*) FROM {} WHERE substr(phone, $1::int, 1) = '0'", &["4"]),
        ("count(*) FROM {} WHERE phone ~ $1", &["0000"]),
        ("count(*) FROM {} WHERE phone = ANY ($1)", &["{13800000007,13800000008}"]),
        ("count(*) FROM {} WHERE phone IN (SELECT $1)", &["13800000007"]),
        ("count(*) FROM {} WHERE (phone, 1) = ($1, 1)", &["13800000007"]),
        ("count(*) FROM {} WHERE phone IS NOT DISTINCT FROM $1", &["13800000007"]),
        ("id, phone FROM {} ORDER BY phone, id DESC LIMIT $1", &["1"]),
        ("min(phone), max(phone), count(DISTINCT phone) FROM {} WHERE id > $1", &["3"]),
        ("substr(phone, $1, 1) x, count(*) FROM {} GROUP BY 1 ORDER BY 1", &["5"]),
        ("count(*) FROM (SELECT rank() OVER (ORDER BY phone) r FROM {}) x WHERE r = $1", &["1"]),
        ("count(*) FROM {} HAVING max(phone) > $1", &["13800000050"]),
        ("string_agg(phone, ',' ORDER BY id) FROM {} WHERE school_id = $1", &["4"]),
        ("count(phone = $1 OR NULL) FROM {}", &["13800000007"]),
    ] {
        let expected = clerk.command(&format!(
            "PREPARE q AS SELECT {}; EXECUTE q({}); DEALLOCATE q",
            question.replace("{}", "desk.copy"),
            values.iter().map(|value| format!("'{value}'")).collect::<Vec<_>>().join(", ")
        ));
        let query = format!("SELECT {}", question.replace("{}", "desk.student"));
        everywhere(&mut clerk, &query, values, &mut |_, how, reply| {
            assert!(reply.code.is_none() && reply.rows == expected.rows, "{how}: {query}: {reply:?}, not {expected:?}");
        });
    }
}

/// Case 13.
fn what_an_equality_may_ask() {
    let school = desk_with("SELECT steward.set_mask('cs', 'phone', predicate => 'equal'); ANALYZE desk.student");
    let mut clerk = wire(&school, "cs");
    let number = &["13800000007"][..];
    hold(
        &mut clerk,
        &[
            ("SELECT id, phone FROM desk.student WHERE phone = $1", number, Show("7|138****0007")),
            ("SELECT id, phone FROM desk.student WHERE $1 = phone AND score >= 0", number, Show("7|138****0007")),
            ("SELECT count(*) FROM desk.student WHERE phone > $1", number, Show("0")),
            ("SELECT count(*) FROM desk.student WHERE phone || '' = $1", number, Show("0")),
            ("SELECT count(*) FROM desk.student WHERE phone = (SELECT $1::text)", number, Show("0")),
            (
                "SELECT count(*) FROM desk.student s, (SELECT $1::text AS n OFFSET 0) o WHERE s.phone = o.n",
                number,
                Show("0"),
            ),
            ("SELECT count(*) FROM desk.student WHERE phone = ANY ($1)", &["{13800000007,13800000008}"], Show("0")),
            (
                "SELECT count(*) FROM desk.student WHERE phone = $1 OR phone = $2",
                &["13800000007", "13800000008"],
                Show("0"),
            ),
            ("SELECT count(*) FROM desk.student WHERE (phone = $1) IS TRUE", number, Show("0")),
            ("SELECT count(phone = $1 OR NULL) FROM desk.student", number, Show("0")),
            ("SELECT count(*) FROM desk.student WHERE id_card = $1", &["110101201001010007"], Show("0")),
        ],
    );
    school.superuser().batch_execute("SELECT steward.set_mask('cs', 'phone', predicate => 'deny')").expect("deny");
    let denied = Refuse("a masked column in a condition");
    hold(
        &mut clerk,
        &[
            ("SELECT id FROM desk.student WHERE phone = $1", number, denied),
            ("SELECT id FROM desk.student ORDER BY phone LIMIT $1", &["1"], denied),
            ("SELECT phone FROM desk.student WHERE id = $1", &["7"], Show("138****0007")),
        ],
    );
}

const KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\n";

/// Cases 23, 35.
fn what_pseudonyms_join_and_who_sees_their_key() {
    let mut school = desk_with(
        "CREATE TABLE desk.card (id_card varchar(18), number int); INSERT INTO desk.card SELECT id_card, id FROM desk.student WHERE id <= 10;
         SECURITY LABEL FOR pg_steward ON COLUMN desk.card.id_card IS 'id_card'; CREATE ROLE joiner LOGIN;
         GRANT USAGE ON SCHEMA desk TO joiner; GRANT SELECT ON desk.card, desk.student TO joiner, cs",
    );
    school.stop();
    let file = school.private_file("steward.key", KEY);
    school.configure(&[&format!("steward.key_file = '{}'", file.display())]);
    school.start();
    school.superuser().batch_execute("SELECT steward.set_mask('joiner', 'id_card', 'pseudonym')").expect("rule");
    let own = "SELECT count(*) / 100 FROM desk.student a JOIN desk.student b USING (id_card) WHERE a.id > $1";
    let other = "SELECT count(*), count(DISTINCT c.id_card), bool_and(s.id = c.number) FROM desk.student s JOIN desk.card c USING (id_card) WHERE c.number > $1";
    let mut joiner = wire(&school, "joiner");
    hold(
        &mut joiner,
        &[
            (own, &["0"], Show("1")),
            (other, &["0"], Show("10|10|t")),
            ("SELECT count(*) FROM desk.student WHERE id_card = $1", &["110101201001010007"], Show("0")),
            (
                "SELECT count(*) FROM desk.student WHERE id_card = steward.mask_value('id_card', $1)",
                &["110101201001010007"],
                Show("0"),
            ),
        ],
    );
    // Whoever sees the first digits alone joins everything of a district.
    hold(&mut wire(&school, "cs"), &[(own, &["0"], Show("100"))]);
    for query in [
        "SELECT setconfig FROM pg_db_role_setting",
        "SELECT rolconfig FROM pg_roles",
        "SELECT setting, boot_val, reset_val FROM pg_settings WHERE name LIKE 'steward.%'",
        "SELECT label FROM pg_seclabels",
        "SELECT prosrc, probin FROM pg_proc WHERE pronamespace = 'steward'::regnamespace",
        "EXPLAIN (VERBOSE) SELECT id_card FROM desk.student",
    ] {
        everywhere(&mut joiner, query, &[], &mut |_, how, reply| {
            let text = reply.text();
            assert!(!text.contains("0112233") && !text.contains("steward.key"), "{how}: {query}: {text}");
        });
    }
}
