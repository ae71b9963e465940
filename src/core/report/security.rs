//! The security report: what was gathered about a period, as a document. It says first what it could not know.

use super::chart::{Chart, Series, Tone};
use super::document::{Block, Document, Table};
use super::figures::{Account, Day, highest};
pub use super::material::{AlertRule, Chain, Check, Found, Material};
use super::unknown::unknown;
use super::words::{Language, count, duration};
use super::zone::date;

/// Columns of a chart; a longer period has several days in each.
const COLUMNS: usize = 62;
/// Rows of a table of the highest.
const HIGHEST: usize = 12;

/// The report.
pub fn document(material: &Material) -> Document {
    let language = material.language;
    let say = |chinese: &str, english: &str| language.say(chinese, english);
    let mut blocks = Vec::new();
    let unknown = unknown(material);
    if !unknown.is_empty() {
        blocks.push(Block::Warnings(say("本报告未能确认的事项", "What this report could not know"), unknown));
    }
    blocks.push(Block::Figures(tiles(material)));
    blocks.extend(work(material));
    blocks.extend(denials(material));
    blocks.extend(alerts(material));
    blocks.extend(hours(material));
    blocks.extend(operations(material));
    blocks.extend(checks(material));
    blocks.extend(chain(material));
    Document {
        language,
        title: say("数据库安全报告", "Database security report"),
        head: head(material),
        blocks,
        foot: foot(material),
    }
}

fn head(material: &Material) -> Vec<(String, String)> {
    let say = |chinese: &str, english: &str| material.language.say(chinese, english);
    let shown = |time| material.zone.shown(time);
    let range = format!("{} – {} ({})", shown(material.from), shown(material.to), material.zone.name);
    vec![
        (say("期间", "Period"), range),
        (say("数据库", "Database"), material.database.clone()),
        (say("生成时间", "Made at"), shown(material.made_at)),
        (say("生成人", "Made by"), material.made_by.clone()),
    ]
}

fn tiles(material: &Material) -> Vec<(String, String, bool)> {
    let Material { language, figures, .. } = material;
    let tile = |chinese: &str, english: &str, number: u64, attention: bool| {
        (language.say(chinese, english), count(number), attention && number > 0)
    };
    let sum = |of: fn(&AlertRule) -> u64| material.alerts.iter().map(of).sum::<u64>();
    vec![
        tile("操作", "operations", figures.total(|day| day.tiers.iter().sum()), false),
        tile("关键操作", "critical ones", figures.total(|day| day.tiers[2]), false),
        tile("被拒绝", "denied", figures.total(|day| day.denied), true),
        tile("告警", "alerts", sum(|rule| rule.alerts), false),
        tile("超时未确认的告警", "alerts answered late", sum(|rule| rule.late), true),
        tile("非工作时间操作", "in off-hours", figures.off_hours, false),
        tile("登录失败", "failed logins", figures.failed_logins, true),
        issues(material),
        tile("逾期复核", "overdue reviews", material.overdue_reviews, true),
        tile("紧急窗口", "emergency windows", figures.steps.get("BREAK GLASS").copied().unwrap_or(0), true),
    ]
}

/// What was not looked for is not known to be none.
fn issues(material: &Material) -> (String, String, bool) {
    let checks = &material.checks;
    let of = |check: &Check| if let Found::Issues(issues) = check.found { issues } else { 0 };
    let found: u64 = checks.iter().map(of).sum();
    let unknown = checks.iter().any(|check| check.found == Found::NotMade);
    let shown = match (checks.is_empty(), unknown) {
        (true, _) => "–".to_owned(),
        (false, true) => format!("≥ {}", count(found)),
        (false, false) => count(found),
    };
    (material.language.say("检查发现的问题", "issues at the last check"), shown, found > 0 || unknown)
}

/// Labels and values of the days of the period, several in one column if there are many.
struct Days<'a> {
    material: &'a Material,
    first: i32,
    last: i32,
    /// Days in a column.
    width: i32,
}

impl Days<'_> {
    fn of(material: &Material) -> Days<'_> {
        let first = material.zone.local(material.from).day;
        let last = material.zone.local(material.to.saturating_sub(1)).day.max(first);
        let width = ((last - first) as usize + 1).div_ceil(COLUMNS).max(1) as i32;
        Days { material, first, last, width }
    }

    fn labels(&self) -> Vec<String> {
        let full = self.last - self.first > 360;
        let label = |day| if full { date(day) } else { date(day).split_off(5) };
        (self.first..=self.last).step_by(self.width as usize).map(label).collect()
    }

    fn values(&self, value: impl Fn(i32) -> u64) -> Vec<u64> {
        let column = |day: i32| (day..day.saturating_add(self.width)).map(&value).sum();
        (self.first..=self.last).step_by(self.width as usize).map(column).collect()
    }

    fn series(&self, chinese: &str, english: &str, tone: Tone, of: impl Fn(&Day) -> u64) -> Series {
        let days = &self.material.figures.days;
        let values = self.values(|day| days.get(&day).map_or(0, &of));
        Series { name: self.material.language.say(chinese, english), tone, values }
    }

    /// A title, with how many days a column stands for.
    fn title(&self, chinese: &str, english: &str) -> String {
        let title = self.material.language.say(chinese, english);
        match (self.width, self.material.language) {
            (1, _) => title,
            (width, Language::Chinese) => format!("{title}(每柱 {width} 天)"),
            (width, Language::English) => format!("{title} ({width} days to a column)"),
        }
    }
}

fn work(material: &Material) -> Vec<Block> {
    let say = |chinese: &str, english: &str| material.language.say(chinese, english);
    let days = Days::of(material);
    let series = vec![
        days.series("未分级", "no tier", Tone::Plain, |day| day.tiers[3]),
        days.series("一般", "normal", Tone::Calm, |day| day.tiers[0]),
        days.series("重要", "important", Tone::Notice, |day| day.tiers[1]),
        days.series("关键", "critical", Tone::Serious, |day| day.tiers[2]),
    ];
    let series = series.into_iter().filter(|series| series.values.iter().any(|value| *value > 0)).collect();
    let accounts = highest(&material.figures.accounts, HIGHEST, |account: &Account| account.records);
    let bars = accounts.iter().map(|(name, account)| ((*name).to_owned(), account.records)).collect();
    let row = |(name, account): &(&str, &Account)| {
        let figures = [account.records, account.critical, account.denied, account.off_hours];
        std::iter::once((*name).to_owned()).chain(figures.map(count)).collect()
    };
    let mut blocks = vec![
        Block::Section(say("操作", "Operations")),
        Block::Chart(
            days.title("每日操作，按风险等级", "By day and tier"),
            Chart::Columns { labels: days.labels(), series },
        ),
        Block::Chart(say("操作最多的人员", "Most active persons"), Chart::Bars(bars)),
    ];
    if !accounts.is_empty() {
        blocks.push(Block::Table(Table {
            title: say("操作最多的人员，明细", "The same in figures"),
            head: vec![
                say("人员(无登记者为登录名)", "person, or the login of nobody"),
                say("操作", "operations"),
                say("关键", "critical"),
                say("被拒绝", "denied"),
                say("非工作时间", "off-hours"),
            ],
            rows: accounts.iter().map(row).collect(),
            numbers: 1,
        }));
    }
    blocks
}

fn denials(material: &Material) -> Vec<Block> {
    let Material { language, figures, .. } = material;
    let say = |chinese: &str, english: &str| language.say(chinese, english);
    let days = Days::of(material);
    let series = vec![
        days.series("策略拒绝", "denied", Tone::Serious, |day| day.denied),
        days.series("执行失败", "failed", Tone::Notice, |day| day.failed),
        days.series("登录失败", "failed logins", Tone::Plain, |day| day.failed_logins),
    ];
    let top = |title: String, what: String, map: &std::collections::BTreeMap<String, u64>| {
        let row = |(name, times): (&str, &u64)| vec![name.to_owned(), count(*times)];
        let rows: Vec<Vec<String>> = highest(map, HIGHEST, |times| *times).into_iter().map(row).collect();
        (!rows.is_empty())
            .then(|| Block::Table(Table { title, head: vec![what, say("次数", "times")], rows, numbers: 1 }))
    };
    let mut blocks = vec![
        Block::Section(say("拒绝与失败", "Denials and failures")),
        Block::Chart(days.title("每日拒绝与失败", "By day"), Chart::Columns { labels: days.labels(), series }),
    ];
    blocks.extend(top(say("被拒绝，按规则", "Denied, by rule"), say("规则", "rule"), &figures.denied_rules));
    blocks.extend(top(say("被拒绝，按对象", "Denied, by object"), say("对象", "object"), &figures.denied_relations));
    blocks
}

fn alerts(material: &Material) -> Vec<Block> {
    let say = |chinese: &str, english: &str| material.language.say(chinese, english);
    let days = Days::of(material);
    let raised = |level: usize| {
        days.values(|day| {
            material.alert_days.iter().find(|(known, _)| *known == day).map_or(0, |(_, levels)| levels[level])
        })
    };
    let levels = [("一般", "minor", Tone::Calm), ("重要", "important", Tone::Notice), ("重大", "major", Tone::Serious)];
    let level_of = |rule: &AlertRule| {
        let known = levels.iter().find(|(_, english, _)| *english == rule.level);
        known.map_or_else(|| rule.level.clone(), |(chinese, english, _)| say(chinese, english))
    };
    let series = |(place, (chinese, english, tone)): (usize, (&str, &str, Tone))| Series {
        name: say(chinese, english),
        tone,
        values: raised(place),
    };
    let time = |seconds: Option<f64>| seconds.map_or("–".to_owned(), duration);
    let row = |rule: &AlertRule| {
        let figures = [rule.alerts, rule.unanswered, rule.late, rule.open].map(count);
        [rule.rule.clone(), level_of(rule)]
            .into_iter()
            .chain(figures)
            .chain([time(rule.median), time(rule.p95)])
            .collect()
    };
    let mut blocks = vec![
        Block::Section(say("告警", "Alerts")),
        Block::Chart(
            days.title("每日告警", "By day"),
            Chart::Columns { labels: days.labels(), series: levels.into_iter().enumerate().map(series).collect() },
        ),
    ];
    if !material.alerts.is_empty() {
        blocks.push(Block::Table(Table {
            title: say("告警与响应时间(要求 15 分钟内确认)", "Alerts and response times (15 minutes are allowed)"),
            head: vec![
                say("规则", "rule"),
                say("级别", "level"),
                say("告警", "alerts"),
                say("未确认", "unanswered"),
                say("超时", "late"),
                say("未关闭", "open"),
                say("中位响应", "median"),
                say("95% 响应", "95 %"),
            ],
            rows: material.alerts.iter().map(row).collect(),
            numbers: 2,
        }));
    }
    blocks
}

fn hours(material: &Material) -> Vec<Block> {
    let language = material.language;
    let (from, to) = material.off_hours;
    let clock = |minute: u16| format!("{:02}:{:02}", minute / 60, minute % 60);
    let mut marked = [false; 24];
    for (hour, mark) in marked.iter_mut().enumerate() {
        *mark = is_off_hours(hour as u16 * 60, material.off_hours);
    }
    let rows = (0..7).map(|day| (language.weekday(day), material.figures.hours[day])).collect();
    let title = match language {
        Language::Chinese => format!("操作的星期与时刻；红色为非工作时间({}–{})", clock(from), clock(to)),
        Language::English => format!("By weekday and hour; off-hours ({}–{}) in red", clock(from), clock(to)),
    };
    vec![Block::Section(language.say("作息", "Hours")), Block::Chart(title, Chart::Hours { rows, marked })]
}

/// Whether a minute of the day is one of the off-hours; from after to goes over midnight.
pub fn is_off_hours(minute: u16, (from, to): (u16, u16)) -> bool {
    if from <= to { (from..to).contains(&minute) } else { minute >= from || minute < to }
}

fn operations(material: &Material) -> Vec<Block> {
    let Material { language, figures, .. } = material;
    let say = |chinese: &str, english: &str| language.say(chinese, english);
    let table = |title: String, what: String, map: &std::collections::BTreeMap<String, u64>| {
        let row = |(name, times): (&String, &u64)| vec![name.clone(), count(*times)];
        let rows: Vec<Vec<String>> = map.iter().map(row).collect();
        (!rows.is_empty())
            .then(|| Block::Table(Table { title, head: vec![what, say("次数", "times")], rows, numbers: 1 }))
    };
    let mut blocks = vec![Block::Section(say("审批与策略变更", "Approvals and changes of the policy"))];
    let steps = table(say("操作的步骤", "Steps of operations"), say("步骤", "step"), &figures.steps);
    let policy = table(say("策略与职责", "Policy and duties"), say("调用", "call"), &figures.policy);
    if steps.is_none() && policy.is_none() {
        blocks.push(Block::Text(say("本期无审批与策略变更。", "None in this period.")));
    }
    blocks.extend(steps);
    blocks.extend(policy);
    blocks
}

fn checks(material: &Material) -> Vec<Block> {
    let say = |chinese: &str, english: &str| material.language.say(chinese, english);
    let mut blocks = vec![Block::Section(say("完整性检查", "Integrity checks"))];
    if material.checks.is_empty() {
        blocks.push(Block::Text(say("本期未运行任何检查。", "No check was run in this period.")));
        return blocks;
    }
    let row = |check: &Check| {
        let issues = match check.found {
            Found::Issues(issues) => count(issues),
            Found::NotMade => say("未能执行", "not made"),
            Found::Dropped => say("已取消", "dropped"),
        };
        vec![check.name.clone(), count(check.runs), count(check.failed), issues]
    };
    blocks.push(Block::Table(Table {
        title: say("每日检查", "Daily check"),
        head: vec![
            say("检查", "check"),
            say("次数", "runs"),
            say("未能执行", "not made"),
            say("最近一次的问题", "issues at the last"),
        ],
        rows: material.checks.iter().map(row).collect(),
        numbers: 1,
    }));
    blocks
}

fn chain(material: &Material) -> Vec<Block> {
    let Material { language, chain, figures, zone, .. } = material;
    let say = |chinese: &str, english: &str| language.say(chinese, english);
    let verified = match chain.verified {
        None => say("从未", "never"),
        Some((id, time)) => {
            let time = time.map_or(String::new(), |time| format!(" ({})", zone.shown(time)));
            format!("{}{time}", count(id.max(0) as u64))
        }
    };
    let failed = chain.failed.clone().unwrap_or_else(|| say("无", "nothing"));
    let mut rows = vec![
        vec![say("本期记录", "records of the period"), count(figures.records)],
        vec![say("链尾记录", "last record of the chain"), count(chain.last_id.max(0) as u64)],
        vec![say("已验证至", "verified up to"), verified],
        vec![say("验证发现", "found by verification"), failed],
        vec![say("登录", "logins"), count(figures.logins)],
    ];
    rows.extend(figures.server.iter().map(|(name, times)| vec![name.clone(), count(*times)]));
    let mut blocks = vec![
        Block::Section(say("审计链", "The audit chain")),
        Block::Table(Table {
            title: say("状态", "State"),
            head: vec![say("项目", "what"), say("数值", "figure")],
            rows,
            numbers: 1,
        }),
    ];
    if let Some(head) = &chain.head {
        blocks.push(Block::Text(say(
            "锚点：请将下行保存在数据库之外，日后用 steward.verify_chain(anchor => …) 核对。",
            "Anchor: keep the next line outside the database, and pass it to steward.verify_chain(anchor => …) later.",
        )));
        blocks.push(Block::Code(head.clone()));
    }
    blocks
}

/// The words before the number of the last record in the report's last line, by which the report's own record is found.
const AFTER: &str = "SECURITY REPORT; after record ";

fn foot(material: &Material) -> Vec<String> {
    let say = |chinese: &str, english: &str| material.language.say(chinese, english);
    vec![
        say(
            "本报告的 SHA-256 已写入审计链；SELECT * FROM steward.check_report(全文) 可核对真伪。报告不含任何数据值或语句文本。",
            "The SHA-256 of this report is on record in the audit chain: SELECT * FROM steward.check_report(its whole text). It holds no value of a table and no text of a statement.",
        ),
        say(
            "未加载本扩展期间的操作、以及规划前即出错的语句，不在记录之内。",
            "What was done while the extension was not loaded, and statements that failed before they were planned, are not on record.",
        ),
        format!("{AFTER}{}", material.chain.last_id),
    ]
}

/// The number in the last line of a report, whatever its form: the report's own record comes after that one.
pub fn made_after(report: &str) -> Option<i64> {
    let (_, number) = report.rsplit_once(AFTER)?;
    let digits = number.split(|character: char| !character.is_ascii_digit()).next()?;
    digits.parse().ok()
}

/// The bytes of a report that its digest covers: lines as they were written, without what editors and terminals put at
/// their ends.
pub fn digested(report: &str) -> String {
    report.replace("\r\n", "\n").trim_end().to_owned()
}
