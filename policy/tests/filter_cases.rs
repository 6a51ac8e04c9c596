//! Runs every case of `cases.jsonl`: a script, a message, and what must become of it. Data, so that
//! a case from an operator's report is one line.

use std::{net::IpAddr, sync::Arc};

use ringpost_core::{
    address::{Address, ReversePath},
    envelope::{Envelope, Recipient},
    id::Mid,
    lookup::ClientName,
    message::{decode::decode_words, header::Header},
    time::Date,
};
use ringpost_policy::filter::{self, Disposition, Examined, Filters, Names, Verdict};
use serde_json::Value;

#[test]
fn every_case_ends_as_it_says() {
    let cases: Vec<Value> = CASES
        .lines()
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}")))
        .collect();
    assert!(cases.len() >= 60, "only {} cases were read", cases.len());
    let failures: Vec<String> = cases.iter().filter_map(|case| run(case).err()).collect();
    assert!(failures.is_empty(), "{} cases:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn no_two_cases_have_the_same_name() {
    let name = |line: &str| serde_json::from_str::<Value>(line).expect("a case")["id"].clone();
    let mut names: Vec<String> = CASES.lines().map(|line| name(line).to_string()).collect();
    let count = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), count);
}

/// Broken scripts are what operators write most: each is compiled without a panic, and each problem
/// points into the text.
#[test]
fn broken_scripts_have_problems_that_point_into_them() {
    let mut random = 0x5eed_u64;
    let mut below = |bound: usize| {
        random =
            random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(random >> 33).expect("31 bits") % bound
    };
    let (mut broken, mut whole) = (0, 0);
    for line in CASES.lines() {
        let mut case: Value = serde_json::from_str(line).expect("a case");
        let script: Vec<char> = text(&case["filter"]).chars().collect();
        for _ in 0..20 {
            let mut script = script.clone();
            for _ in 0..=below(3) {
                let at = below(script.len());
                let sign = SIGNS[below(SIGNS.len())];
                match below(3) {
                    0 => script[at] = sign,
                    1 => script.insert(at, sign),
                    _ => drop(script.drain(at..(at + below(9)).min(script.len()))),
                }
                script.push('\n');
            }
            let script: String = script.into_iter().collect();
            case["filter"] = Value::String(script.clone());
            match filter::compile(&script, &Names { listeners: &[] }) {
                Ok(filters) => {
                    whole += 1;
                    evaluate(&filters, &case, 1, &mut Header::parse("Subject: x\r\n".into()));
                }
                Err(problems) => {
                    broken += 1;
                    assert!(!problems.is_empty(), "{script}");
                    for problem in problems {
                        assert!(
                            script.get(problem.span.clone()).is_some(),
                            "{script}: {problem:?}"
                        );
                    }
                }
            }
        }
    }
    assert!(broken > 500 && whole > 100, "{broken} broken and {whole} whole scripts show nothing");
}

fn run(case: &Value) -> Result<(), String> {
    let id = text(&case["id"]);
    let expect = &case["expect"];
    let listeners: [Arc<str>; 2] = ["Inbound".into(), "Outbound".into()];
    let compiled = filter::compile(text(&case["filter"]), &Names { listeners: &listeners });
    let filters = match (compiled, expect["parse"].as_str()) {
        (Err(_), Some("error")) => return Ok(()),
        (Ok(_), Some("error")) => return Err(format!("{id}: compiles, and should not")),
        (Err(problems), _) => return Err(format!("{id}: {problems:?}")),
        (Ok(filters), _) => filters,
    };
    let message = text(&case["message"]);
    let block = match message.split_once("\r\n\r\n") {
        Some((header, _)) => format!("{header}\r\n"),
        None => message.to_owned(),
    };
    let mut header = Header::parse(block.into());
    let verdict = evaluate(&filters, case, message.len() as u64, &mut header);
    check(expect, &verdict, &header).map_err(|wrong| format!("{id}: {wrong}"))
}

fn evaluate(filters: &Filters, case: &Value, size: u64, header: &mut Header) -> Verdict {
    let given = &case["envelope"];
    let reverse_path = match text(&given["mail_from"]) {
        "" | "<>" => ReversePath::Null,
        sender => ReversePath::Mailbox(Address::from_text(sender)),
    };
    let mut envelope = Envelope::new(reverse_path);
    let recipients = given["rcpt_to"].as_array().expect("recipients").iter();
    envelope.recipients =
        recipients.map(|address| Recipient::new(Address::from_text(text(address)))).collect();
    let client_name = match given["ptr"].as_str() {
        Some(name) => ClientName::Verified(name.into()),
        None => ClientName::NoName,
    };
    filters.evaluate(&mut Examined {
        envelope: &envelope,
        header,
        size,
        mid: Mid(17),
        client: text(&given["ip"]).parse::<IpAddr>().expect("an address"),
        client_name: &client_name,
        listener: text(&given["listener"]),
        group: given["sendergroup"].as_str(),
        policy: given["policy"].as_str().unwrap_or_default(),
        hostname: "mx.gateway.test",
        date: Date::from_millis(1_763_994_177_250),
    })
}

fn check(expect: &Value, verdict: &Verdict, header: &Header) -> Result<(), String> {
    let (last, reply) = match &verdict.disposition {
        Disposition::Deliver => ("deliver", None),
        Disposition::Drop { .. } => ("drop", None),
        Disposition::Bounce { .. } => ("bounce", None),
        Disposition::Reject { reply, .. } => ("reject", Some(reply.to_string())),
    };
    let expected = expect["final"].as_str().unwrap_or("deliver");
    if last != expected {
        return Err(format!("ends as {last}, not as {expected}"));
    }
    if let Some(expected) = expect["reply"].as_str()
        && reply.as_deref() != Some(expected)
    {
        return Err(format!("answers {reply:?}, not {expected:?}"));
    }
    for (name, values) in expect["headers_present"].as_object().into_iter().flatten() {
        let expected: Vec<&str> = match values {
            Value::Array(values) => values.iter().map(text).collect(),
            value => vec![text(value)],
        };
        let found: Vec<_> = header.values(name).map(decode_words).collect();
        if found != expected {
            return Err(format!("{name} is {found:?}, not {expected:?}"));
        }
    }
    for name in expect["headers_absent"].as_array().into_iter().flatten() {
        if header.count(text(name)) > 0 {
            return Err(format!("{name} is still there"));
        }
    }
    if let Some(expected) = expect["log"].as_array() {
        let expected: Vec<&str> = expected.iter().map(text).collect();
        let found: Vec<&str> = verdict.log_entries.iter().map(|entry| &**entry).collect();
        if found != expected {
            return Err(format!("logs {found:?}, not {expected:?}"));
        }
    }
    Ok(())
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no string"))
}

const SIGNS: [char; 20] = [
    '(', ')', '{', '}', '[', ']', ';', ',', ':', '!', '=', '<', '"', '\'', '\\', '$', '#', '-',
    '9', 'é',
];
const CASES: &str = include_str!("cases.jsonl");
