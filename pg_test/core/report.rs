//! Reports: nothing that anybody is called becomes markup, days and hours are the zone's, a stretch leaves nothing out.

use crate::core::record::{Kind, Outcome, Record};
use crate::core::report::chart::{Chart, Series, Tone};
use crate::core::report::document::{Block, Document, Table};
use crate::core::report::figures::{Figures, OTHERS, highest};
use crate::core::report::security::{
    self, AlertRule, Chain, Check, Found, Material, digested, document, is_off_hours, made_after,
};
use crate::core::report::stretch::{Stretch, stretch};
use crate::core::report::words::{Language, count, duration};
use crate::core::report::zone::{Local, Zone, date};
use crate::core::report::{control, escape, html, markdown};
use crate::core::tier::Tier;
use proptest::prelude::*;

/// What somebody may call a table, a role or a person, to be more than a name in a report.
const ATTACKS: [&str; 14] = [
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "' onmouseover='alert(1)",
    "</title></svg><iframe src=http://evil.example>",
    "]]><style>*{display:none}</style>",
    "&lt;b&gt;",
    "a|b|c\n| x | y |",
    "[click](http://evil.example)",
    "![x](http://evil.example/x.png)",
    "# heading\n\n- item",
    "`code` ~~~ ```",
    "www.evil.example and https://evil.example and a@evil.example",
    "**bold** _it_ <http://evil.example>",
    "left \u{202e}tfel\u{202c} \u{200b}hidden\u{7}",
];

fn attacked(name: &str) -> Document {
    let name = name.to_owned();
    let series = |tone| Series { name: name.clone(), tone, values: vec![3, 1] };
    let columns = Chart::Columns {
        labels: vec![name.clone(), "b".into()],
        series: vec![series(Tone::Calm), series(Tone::Serious)],
    };
    Document {
        language: Language::English,
        title: name.clone(),
        head: vec![(name.clone(), name.clone())],
        blocks: vec![
            Block::Section(name.clone()),
            Block::Text(name.clone()),
            Block::Code(name.clone()),
            Block::Warnings(name.clone(), vec![name.clone()]),
            Block::Figures(vec![(name.clone(), name.clone(), true)]),
            Block::Table(Table {
                title: name.clone(),
                head: vec![name.clone()],
                rows: vec![vec![name.clone()]],
                numbers: 1,
            }),
            Block::Chart(name.clone(), columns),
            Block::Chart(name.clone(), Chart::Bars(vec![(name.clone(), 5)])),
            Block::Chart(name.clone(), Chart::Hours { rows: vec![(name.clone(), [1; 24])], marked: [false; 24] }),
            Block::Chart(name.clone(), Chart::Bars(Vec::new())),
        ],
        foot: vec![name],
    }
}

/// Elements and attribute names of a page, in order: its shape, whatever the texts.
fn shape(page: &str) -> Vec<String> {
    let mut shape = Vec::new();
    for tag in page.split('<').skip(1) {
        let (tag, _) = tag.split_once('>').unwrap_or((tag, ""));
        let mut quoted = false;
        let bare: String = tag
            .chars()
            .filter(|character| {
                quoted ^= *character == '"';
                !quoted && *character != '"'
            })
            .collect();
        shape.push(bare.split_whitespace().collect::<Vec<_>>().join(" "));
    }
    shape
}

#[test]
fn no_name_changes_the_shape_of_a_page() {
    let plain = shape(&html::page(&attacked("name")));
    assert!(plain.len() > 60, "{plain:?}");
    for name in ATTACKS {
        let page = html::page(&attacked(name));
        let found = shape(&page);
        assert_eq!(found, plain, "{name}");
        assert!(!page.contains("<script") && !page.contains("<img") && !page.contains("\u{202e}"), "{name}");
    }
}

#[test]
fn a_page_fetches_nothing_and_runs_nothing() {
    let page = html::page(&attacked("name"));
    assert!(page.contains("content=\"default-src 'none'; style-src 'unsafe-inline'\""));
    for foreign in ["http:", "https:", "//", "url(", "@import", "<script", "src=", "href=", "javascript:"] {
        assert!(!page.contains(foreign), "{foreign}");
    }
}

#[test]
fn no_name_is_markup_in_markdown() {
    for name in ATTACKS {
        let text = markdown::text(&attacked(name));
        let lines = markdown::text(&attacked("name")).lines().count();
        assert_eq!(text.lines().count(), lines, "{name}: a line was added");
        for line in text.lines().filter(|line| !line.starts_with("    ")) {
            for markup in ["<", "](", "[", "](http", "![", "://", "www.", "@", "\u{202e}", "`"] {
                // What is escaped is no markup.
                let bare: String = line
                    .split('\\')
                    .enumerate()
                    .map(|(at, part)| if at == 0 { part } else { part.get(1..).unwrap_or("") })
                    .collect();
                assert!(!bare.contains(markup), "{markup} of {name}: {line}");
            }
            // Cells come only from us: three bars in a row of a table with one column are none of a name's.
            let bars = line.replace("\\|", "").matches('|').count();
            assert!(bars <= 8, "{line}");
        }
    }
    assert_eq!(escape::markdown("# a"), "\\# a");
    assert_eq!(escape::markdown("app.student 12:30"), "app.student 12:30");
}

proptest! {
    #[test]
    fn whatever_a_name_is_the_page_keeps_its_shape(name in any::<String>()) {
        // An empty line at the end is not kept.
        let name = format!("{name}x");
        let plain = shape(&html::page(&attacked("name")));
        prop_assert_eq!(shape(&html::page(&attacked(&name))), plain);
        let lines = markdown::text(&attacked("name")).lines().count();
        prop_assert_eq!(markdown::text(&attacked(&name)).lines().count(), lines);
    }

    /// Entries are chained in order, each at most `late` after its own time.
    #[test]
    fn a_stretch_leaves_no_entry_out(
        steps in prop::collection::vec((0..5_i64, 0..20_i64), 0..200), from in 0..500_i64, length in 1..200_i64,
    ) {
        let late = 20;
        let mut chained = 0;
        let times: Vec<i64> = steps.iter().map(|(step, delay)| { chained += step; chained - delay }).collect();
        let to = from + length;
        let mut asked = 0;
        let found = stretch(1, times.len() as i64, from - late, to + late, |id| {
            asked += 1;
            Ok::<_, ()>(times.get(id as usize - 1).copied())
        }).expect("asks nothing that fails");
        for (at, time) in times.iter().enumerate() {
            let id = at as i64 + 1;
            prop_assert!(!(from..to).contains(time) || (found.first..=found.last).contains(&id), "{id} at {time}: {found:?}");
        }
        prop_assert!(asked <= 18, "{asked} questions");
    }
}

#[test]
fn a_stretch_is_short_where_all_is_in_order() {
    let found = stretch(1, 1_000_000, 500_000, 500_100, |id| Ok::<_, ()>(Some(id))).expect("found");
    assert_eq!(found, Stretch { first: 500_000, last: 500_100 });
    // What does not tell its time decides nothing.
    let all = stretch(1, 1000, 500, 510, |_| Ok::<_, ()>(None)).expect("found");
    assert_eq!(all, Stretch { first: 1, last: 1000 });
}

#[test]
fn days_and_hours_are_those_of_the_zone() {
    let shanghai = Zone { name: "Asia/Shanghai".into(), offsets: vec![(0, 8 * 3600)] };
    // 2000-01-01 00:00 UTC, a Saturday.
    assert_eq!(shanghai.local(0), Local { day: 10_957, minute: 480, weekday: 5 });
    assert_eq!(shanghai.shown(16 * 3_600_000_000), "2000-01-02 00:00");
    assert_eq!(shanghai.shown(-1), "2000-01-01 07:59");
    let summer = Zone { name: "x".into(), offsets: vec![(0, 3600), (1_000_000, 7200)] };
    assert_eq!((summer.local(999_999).minute, summer.local(1_000_000).minute), (60, 120));
    assert_eq!((date(0), date(19_782), date(-1)), ("1970-01-01".into(), "2024-02-29".into(), "1969-12-31".into()));
    assert!(is_off_hours(23 * 60, (1320, 420)) && is_off_hours(419, (1320, 420)) && !is_off_hours(420, (1320, 420)));
}

fn record(kind: Kind, operation_type: &str, outcome: Outcome) -> Record {
    Record { outcome, user_id: "wang".into(), ..Record::new(kind, operation_type) }
}

fn at_ten() -> Local {
    Local { day: 20_000, minute: 605, weekday: 2 }
}

#[test]
fn each_record_is_counted_where_it_belongs() {
    let mut figures = Figures::default();
    let denied = Record {
        tier: Some(Tier::Critical),
        rule: Some("bulk_write".into()),
        relations: vec!["app.student".into()],
        repeats: Some(3),
        ..record(Kind::Statement, "UPDATE", Outcome::Denied)
    };
    figures.add(&denied, at_ten(), true);
    figures.add(&record(Kind::Statement, "SELECT", Outcome::Success), at_ten(), false);
    figures.add(&record(Kind::Operation, "APPROVE", Outcome::Success), at_ten(), false);
    figures.add(&record(Kind::Login, "LOGIN", Outcome::Failure), at_ten(), false);
    figures.add(&record(Kind::Login, "LOGIN", Outcome::Success), at_ten(), false);
    figures.add(&record(Kind::Policy, "set_rule", Outcome::Success), at_ten(), false);
    figures.add(&record(Kind::Policy, "set_rule", Outcome::RolledBack), at_ten(), false);
    figures.add(&record(Kind::Server, "LOST", Outcome::Success), at_ten(), false);
    let day = &figures.days[&20_000];
    assert_eq!((day.tiers, day.denied, day.failed_logins), ([0, 0, 3, 2], 3, 1));
    assert_eq!((figures.records, figures.logins, figures.failed_logins, figures.off_hours), (8, 1, 1, 3));
    assert_eq!(figures.hours[2][10], 5);
    assert_eq!((figures.denied_rules["bulk_write"], figures.denied_relations["app.student"]), (3, 3));
    assert_eq!((figures.steps["APPROVE"], figures.policy["set_rule"], figures.server["LOST"]), (1, 1, 1));
    let account = &figures.accounts["wang"];
    assert_eq!((account.records, account.critical, account.denied), (5, 3, 3));
}

#[test]
fn invented_names_do_not_fill_the_memory() {
    let mut figures = Figures::default();
    for number in 0..12_000 {
        let user = Record { user_id: format!("user {number}"), ..record(Kind::Statement, "SELECT", Outcome::Success) };
        figures.add(&user, at_ten(), false);
    }
    assert!(figures.accounts.len() <= 10_001);
    assert_eq!(figures.accounts[OTHERS].records, 2_000);
    assert_eq!(highest(&figures.accounts, 2, |account| account.records)[0].0, OTHERS);
}

const DAY: i64 = 86_400_000_000;

fn material() -> Material {
    let zone = Zone { name: "UTC".into(), offsets: vec![(0, 0)] };
    Material {
        language: Language::English,
        database: "school".into(),
        made_by: "Qian".into(),
        made_at: 40 * DAY,
        from: 0,
        to: 30 * DAY,
        zone,
        off_hours: (1320, 420),
        figures: Figures::default(),
        alerts: vec![AlertRule {
            rule: "off_hours".into(),
            level: "important".into(),
            alerts: 2,
            late: 1,
            median: Some(200.0),
            ..AlertRule::default()
        }],
        alert_days: vec![(10_958, [0, 2, 0])],
        checks: vec![Check { name: "phones".into(), runs: 30, failed: 0, found: Found::Issues(4) }],
        days_without_check: 0,
        overdue_reviews: 0,
        chain: Chain {
            head: Some("pg_steward head".into()),
            last_id: 500,
            read_from: 1,
            verified: Some((500, Some(39 * DAY))),
            failed: None,
            archived: Vec::new(),
            began: Some(-DAY),
            complete: true,
            active: true,
            mode: "enforce".into(),
        },
    }
}

fn says(material: &Material, words: &str) -> bool {
    html::page(&document(material)).contains(words)
}

#[test]
fn what_could_not_be_known_is_said_first() {
    let good = material();
    assert!(!says(&good, "could not know"), "nothing is unknown");
    type Change = fn(&mut Material);
    let changes: [(Change, &str); 15] = [
        (|m| m.chain.failed = Some("edited at record 420".into()), "did not verify: edited at record 420"),
        (|m| m.chain.verified = None, "never verified"),
        (|m| m.chain.verified = Some((100, None)), "up to record 100"),
        (|m| m.chain.archived = vec![(1, 99)], "Records 1 to 99 are archived"),
        (|m| m.chain.archived = vec![(1, 9), (10, 30), (31, 99), (200, 300)], "Records 1 to 99 are archived"),
        (|m| m.chain.complete = false, "not chained yet"),
        (|m| m.chain.active = false, "active: false"),
        (|m| m.chain.mode = "observe".into(), "mode: observe"),
        (|m| m.made_at = DAY, "not over yet"),
        (|m| m.made_at = -DAY, "has not begun yet"),
        (|m| m.chain.began = Some(DAY), "nothing before that is on record"),
        (|m| m.days_without_check = 3, "On 3 days"),
        (|m| m.figures.unreadable = 2, "2 records cannot be read"),
        (|m| m.figures.undefined = 1, "1 records miss a definition"),
        (|m| *m.figures.server.entry("LOST".into()).or_default() = 7, "7 records LOST"),
    ];
    for (change, words) in changes {
        let mut material = material();
        change(&mut material);
        assert!(says(&material, "could not know") && says(&material, words), "{words}");
    }
    let mut none = material();
    none.chain = Chain::default();
    assert!(says(&none, "no audit chain yet"));
}

#[test]
fn one_material_gives_the_same_report_in_two_languages() {
    let mut material = material();
    assert_eq!(html::page(&document(&material)), html::page(&document(&material)));
    let english = shape(&html::page(&document(&material)));
    material.language = Language::Chinese;
    let page = html::page(&document(&material));
    assert_eq!(shape(&page), english);
    assert!(page.contains("数据库安全报告") && page.contains("lang=\"zh-CN\""));
    assert!(page.contains("<td class=\"number\">3 min 20 s</td>"), "the median");
}

#[test]
fn what_was_not_looked_for_is_not_told_as_none() {
    let mut material = material();
    material.language = Language::Chinese;
    let shown = |material: &Material| {
        let text = markdown::text(&document(material));
        text.lines().find(|line| line.contains("检查发现的问题")).expect("its line").to_owned()
    };
    assert!(shown(&material).contains("**4**"), "{}", shown(&material));
    material.checks.push(Check { name: "gone".into(), runs: 1, failed: 0, found: Found::Dropped });
    assert!(shown(&material).contains("**4**"), "{}", shown(&material));
    material.checks.push(Check { name: "late".into(), runs: 1, failed: 1, found: Found::NotMade });
    assert!(shown(&material).contains("**≥ 4**"), "{}", shown(&material));
    material.checks.clear();
    assert!(shown(&material).ends_with(": –"), "{}", shown(&material));
    // No heading without a row, and no word of the other language.
    let text = markdown::text(&document(&material));
    assert!(!text.contains("明细") && text.contains("| off\\_hours | 重要 |"), "{text}");
}

#[test]
fn a_long_period_has_days_together_in_a_column() {
    let mut material = material();
    material.to = 3_650 * DAY;
    material.figures.days.entry(10_957).or_default().tiers[0] = 5;
    material.figures.days.entry(10_960).or_default().tiers[0] = 6;
    let page = html::page(&document(&material));
    assert!(page.contains("59 days to a column"), "{}", &page[page.len() - 200..]);
    assert!(page.contains("2000-01-01 · normal: 11"));
}

#[test]
fn a_report_is_found_by_its_last_line_however_it_was_copied() {
    for render in [html::page, markdown::text] {
        let report = render(&document(&material()));
        assert_eq!(made_after(&report), Some(500));
        assert_eq!(digested(&format!("{}\r\n\r\n", report.replace('\n', "\r\n"))), digested(&report));
        assert_ne!(digested(&report.replacen("Qian", "Qiam", 1)), digested(&report));
    }
    assert_eq!(made_after("no report"), None);
    assert_eq!(made_after("SECURITY REPORT; after record 99999999999999999999"), None);
    let _ = security::document(&material());
}

#[test]
fn numbers_read_well() {
    assert_eq!(
        (count(0), count(999), count(1_000), count(1_234_567)),
        ("0".into(), "999".into(), "1,000".into(), "1,234,567".into())
    );
    assert_eq!(
        (duration(45.4), duration(200.0), duration(7_500.0)),
        ("45 s".into(), "3 min 20 s".into(), "2 h 5 min".into())
    );
}

/// A month as the documentation shows it, made up: every chart has something to draw. With the variable STEWARD_SAMPLE_REPORT
/// it is written there as a page.
#[test]
fn a_full_report_draws_every_chart() {
    let mut material = sample();
    let page = html::page(&document(&material));
    assert_eq!(page.matches("<figure>").count(), 5, "operations, persons, denials, alerts, hours");
    assert!(page.len() < 200_000, "{} bytes", page.len());
    if let Ok(path) = std::env::var("STEWARD_SAMPLE_REPORT") {
        material.language = Language::from_code(&std::env::var("STEWARD_SAMPLE_LANGUAGE").unwrap_or_default())
            .unwrap_or(Language::English);
        std::fs::write(path, html::page(&document(&material))).expect("the sample is written");
    }
}

fn sample() -> Material {
    let mut material = material();
    // 2026-11-01 to 2026-12-01 in Shanghai; every figure follows from its place.
    let day_0 = 20_758;
    material.zone = Zone { name: "Asia/Shanghai".into(), offsets: vec![(0, 8 * 3600)] };
    material.from = i64::from(day_0 - 10_957) * DAY - 8 * 3_600_000_000;
    material.to = material.from + 30 * DAY;
    material.made_at = material.to + DAY / 3;
    material.chain.began = Some(material.from - 40 * DAY);
    material.chain.last_id = 1_204_512;
    material.chain.verified = Some((1_204_377, Some(material.to + DAY / 8)));
    material.chain.archived = vec![(1, 311_020)];
    material.chain.head = Some(format!(
        "pg_steward/1 dba46356-b773-93e6-298b-8daf0190988d 1204512 {} 2026-11-30T23:58:12Z",
        "b7".repeat(32)
    ));
    let figures = &mut material.figures;
    figures.records = 893_357;
    figures.logins = 4_211;
    for number in 0..30_u64 {
        let weekday = (number + 6) % 7;
        let share = if weekday >= 5 { 3 } else { 10 };
        let day = figures.days.entry(day_0 + number as i32).or_default();
        day.tiers =
            [share * (2_300 + number * 37 % 900), share * (190 + number * 53 % 120), share * (6 + number * 7 % 9), 0];
        day.denied = if number == 17 { 96 } else { number * 5 % 11 };
        day.failed = number * 11 % 17;
        day.failed_logins = if number == 21 { 64 } else { number * 3 % 5 };
        for hour in 0..24_u64 {
            let busy =
                [0, 0, 1, 0, 0, 0, 1, 8, 30, 46, 50, 41, 14, 30, 47, 44, 36, 25, 9, 4, 3, 2, 1, 0][hour as usize];
            figures.hours[weekday as usize][hour as usize] += busy * share;
        }
    }
    figures.off_hours = 214;
    figures.failed_logins = figures.total(|day| day.failed_logins);
    let accounts = [
        ("app_service", 512_004, 0, 0, 160),
        ("王敏", 101_332, 4, 41, 0),
        ("李娜", 88_120, 2, 9, 0),
        ("陈卫东", 40_410, 310, 96, 12),
        ("赵小兰", 31_006, 0, 55, 0),
        ("吴建平", 12_870, 402, 22, 31),
        ("钱伟", 9_120, 0, 3, 0),
        ("孙立群", 4_430, 0, 0, 0),
        ("nightly_job", 4_020, 60, 0, 11),
    ];
    for (name, records, critical, denied, off_hours) in accounts {
        figures
            .accounts
            .insert(name.into(), crate::core::report::figures::Account { records, critical, denied, off_hours });
    }
    for (name, times) in
        [("bulk_write", 141), ("structure", 38), ("privilege", 22), ("export", 17), ("sensitive_column", 8)]
    {
        figures.denied_rules.insert(name.into(), times);
    }
    for (name, times) in [("app.student", 133), ("app.card", 41), ("app.guardian", 29), ("app.card_transaction", 23)] {
        figures.denied_relations.insert(name.into(), times);
    }
    for (name, times) in [
        ("REQUEST", 63),
        ("APPROVE", 71),
        ("CONFIRM", 44),
        ("EXECUTE", 58),
        ("REVIEW", 55),
        ("REJECT", 4),
        ("BREAK GLASS", 1),
    ] {
        figures.steps.insert(name.into(), times);
    }
    for (name, times) in [("set_rule", 2), ("register_person", 3), ("acknowledge", 24), ("daily_check", 29)] {
        figures.policy.insert(name.into(), times);
    }
    figures.server = [("HEARTBEAT".to_owned(), 402), ("SERVER START".to_owned(), 2)].into();
    let rule = |rule: &str, level: &str, figures: [u64; 4], median, p95| AlertRule {
        rule: rule.into(),
        level: level.into(),
        alerts: figures[0],
        unanswered: figures[1],
        late: figures[2],
        open: figures[3],
        median: Some(median),
        p95: Some(p95),
    };
    material.alerts = vec![
        rule("without_approval", "important", [19, 0, 1, 2], 240.0, 1_100.0),
        rule("off_hours", "important", [11, 0, 0, 0], 410.0, 790.0),
        rule("slow_statement", "minor", [6, 1, 1, 1], 700.0, 850.0),
        rule("login_failures", "important", [3, 0, 0, 0], 95.0, 180.0),
        rule("emergency_window", "major", [1, 0, 0, 0], 35.0, 35.0),
    ];
    material.alert_days = (0..30)
        .map(|day| (day_0 + day, [u64::from(day % 5 == 0), (day * 7 % 5 / 2) as u64, u64::from(day == 21)]))
        .collect();
    let check = |name: &str, issues| Check { name: name.into(), runs: 29, failed: 0, found: Found::Issues(issues) };
    material.checks = vec![
        check("audit_chain", 0),
        check("configuration_drift", 1),
        check("duplicate_id_card", 0),
        check("invalid_phone", 4),
        check("separation_of_duties", 0),
    ];
    material.days_without_check = 1;
    material.overdue_reviews = 2;
    material
}

const CONTROLS: &str = include_str!("../../src/report/mlps.sql");

#[test]
fn every_control_point_is_whole() {
    let controls = control::controls(CONTROLS);
    assert!(controls.len() >= 50, "{}", controls.len());
    let mut codes = std::collections::BTreeSet::new();
    for control in &controls {
        assert!(codes.insert(&control.code), "{} twice", control.code);
        assert!(!control.clause.is_empty() && !control.zh.is_empty() && !control.en.is_empty(), "{control:?}");
        let organisational = control.query.is_empty();
        assert!(
            organisational || control.query.starts_with("SELECT") || control.query.starts_with("WITH"),
            "{control:?}"
        );
        assert!(!control.query.contains(";\n"), "{}: two statements", control.code);
    }
    // Every row of the control points that the policy or PostgreSQL answers.
    for number in (1..=35).filter(|number| *number != 16) {
        assert!(codes.contains(&format!("L3-CES1-{number:02}")), "{number}");
    }
    const OTHERS: [&str; 23] = [
        "8.1.5.1 a, b",
        "8.1.5.2 a, b",
        "8.1.5.3 a, b",
        "8.1.5.4 d",
        "8.1.5.4 f",
        "8.1.7.1 c",
        "8.1.7.2 b",
        "8.1.7.3 a, b",
        "8.1.7.3 c",
        "8.1.7.5",
        "8.1.8.2 a",
        "8.1.8.3",
        "8.1.8.4",
        "8.1.10.6 b",
        "8.1.10.6 e, f",
        "8.1.10.6 g, h, i",
        "8.1.10.8 b",
        "8.1.10.9 a, b",
        "8.1.10.10 a, b",
        "8.1.10.10 c",
        "8.1.10.11",
        "8.1.10.12",
        "8.1.10.13",
    ];
    assert!(OTHERS.iter().all(|code| codes.contains(&(*code).to_owned())), "{codes:?}");
    // The query of a point that can be good is one that looks at something.
    for control in controls.iter().filter(|control| control.query.contains("'conforms'")) {
        assert!(control.query.contains("CASE"), "{}: conforms whatever is so", control.code);
    }
}
