//! What a security report could not know, which it says before anything else.

use super::material::Material;
use super::words::{Language, count};

/// Records of the server's own life that mean that others are missing or in doubt.
const FAULTS: [&str; 11] = [
    "LOST",
    "TORN SPOOL",
    "UNREADABLE",
    "COPIED SPOOL",
    "CRASH BOUNDARY",
    "HEAD MISMATCH",
    "VERIFICATION FAILED",
    "DAMAGED JOURNAL",
    "MISSING JOURNAL",
    "DAMAGED COUNT",
    "POSITIONS ALTERED",
];

/// What the figures leave out, or what they are not proved by.
pub fn unknown(material: &Material) -> Vec<String> {
    let Material { language, chain, figures, .. } = material;
    let say = |chinese: String, english: String| match language {
        Language::Chinese => chinese,
        Language::English => english,
    };
    let mut items = Vec::new();
    let last = count(chain.last_id.max(0) as u64);
    if let Some(found) = &chain.failed {
        items.push(say(
            format!("审计链验证未通过：{found}。以下数字不可信，先查明原因。"),
            format!(
                "The audit chain did not verify: {found}. No figure below can be relied on before that is explained."
            ),
        ));
    }
    match chain.verified {
        _ if chain.last_id <= 0 => items.push(say(
            "尚无审计链，本期没有任何记录。".into(),
            "There is no audit chain yet: nothing of this period is on record.".into(),
        )),
        None => items.push(say(
            "审计链从未验证(steward.verify_chain()),以下数字未经完整性证明。".into(),
            "The chain was never verified (steward.verify_chain()): nothing proves the figures below.".into(),
        )),
        Some((id, time)) if id < chain.last_id => {
            let (id, time) = (count(id.max(0) as u64), time.map_or("?".to_owned(), |time| material.zone.shown(time)));
            items.push(say(
                format!("审计链只验证到第 {id} 条({time})；其后至第 {last} 条未经验证。"),
                format!("The chain was verified up to record {id} ({time}) only; what follows, up to {last}, was not."),
            ));
        }
        Some(_) => {}
    }
    for (first, last) in stretches(&chain.archived) {
        items.push(say(
            format!("第 {first} 至 {last} 条记录已归档，未计入(steward.audit_archive 列出归档文件)。"),
            format!("Records {first} to {last} are archived and not counted (steward.audit_archive names the files)."),
        ));
    }
    if !chain.complete {
        items.push(say(
            "生成报告时部分记录尚未入链，未计入。".into(),
            "Some records were not chained yet when the report was made: they are not counted.".into(),
        ));
    }
    if !chain.active || chain.mode != "enforce" {
        let mode = &chain.mode;
        let active = chain.active;
        items.push(say(
            format!("生成报告时策略未强制执行(已启用: {active},模式: {mode}):只记录，不拒绝。"),
            format!("The policy was not enforced when the report was made (active: {active}, mode: {mode}): it records and refuses nothing."),
        ));
    }
    if material.from > material.made_at {
        items.push(say("期间尚未开始。".into(), "The period has not begun yet.".into()));
    } else if material.to > material.made_at {
        items.push(say("期间尚未结束。".into(), "The period is not over yet.".into()));
    }
    if let Some(began) = chain.began.filter(|began| *began > material.from) {
        let began = material.zone.shown(began);
        items.push(say(
            format!("审计自 {began} 起，此前无记录。"),
            format!("The chain begins on {began}: nothing before that is on record."),
        ));
    }
    if material.days_without_check > 0 {
        let days = count(material.days_without_check);
        items.push(say(
            format!("有 {days} 天没有完成每日检查。"),
            format!("On {days} days no run of the daily check came to its end."),
        ));
    }
    let odd = |number: u64, chinese: &str, english: &str| {
        (number > 0).then(|| say(format!("{} {chinese}", count(number)), format!("{} {english}", count(number))))
    };
    items.extend(odd(figures.unreadable, "条记录无法读取。", "records cannot be read."));
    items.extend(odd(
        figures.undefined,
        "条记录缺少其定义，操作人或内容未知。",
        "records miss a definition: who or what is not known.",
    ));
    for fault in FAULTS {
        let number = figures.server.get(fault).copied().unwrap_or(0);
        items.extend(odd(
            number,
            &format!("条 {fault} 记录:其前后可能有记录缺失或存疑。"),
            &format!("records {fault}: others around them may be missing or in doubt."),
        ));
    }
    items
}

/// Neighbours as one: a year has hundreds of archived segments.
fn stretches(segments: &[(i64, i64)]) -> Vec<(i64, i64)> {
    let mut stretches: Vec<(i64, i64)> = Vec::new();
    for &(first, last) in segments {
        match stretches.last_mut() {
            Some((_, end)) if *end + 1 == first => *end = last,
            _ => stretches.push((first, last)),
        }
    }
    stretches
}
