//! Rules that break answers on purpose.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::pattern::mix;

/// One rule: which requests, when, and what happens to them.
///
/// As JSON: `{"route":"GET /files/*","when":{"first":2},"action":{"status":{"code":503}}}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FaultRule {
    /// A pattern with `*` for any run of characters, compared with the route's template (`GET /files/{id}`) and with the
    /// request itself (`GET /api/v2/files/17`).
    pub route: String,
    /// Which of the matching requests.
    #[serde(default)]
    pub when: When,
    /// What happens.
    pub action: Action,
}

impl FaultRule {
    /// A rule.
    pub fn new(route: impl Into<String>, when: When, action: Action) -> Self {
        Self {
            route: route.into(),
            when,
            action,
        }
    }
}

/// Which of the requests that match a rule it strikes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// Each of them.
    #[default]
    Always,
    /// Only the n-th, counted from 1.
    Nth(u64),
    /// The first n.
    First(u64),
    /// All after the first n.
    After(u64),
    /// Every n-th.
    Every(u64),
    /// Each with this chance, 0 to 1; the sequence is the same in every run.
    Probability(f64),
}

impl When {
    /// Whether the `seen`-th match (from 1) is struck.
    fn strikes(self, seen: u64) -> bool {
        match self {
            Self::Always => true,
            Self::Nth(n) => seen == n,
            Self::First(n) => seen <= n,
            Self::After(n) => seen > n,
            Self::Every(n) => n > 0 && seen.is_multiple_of(n),
            Self::Probability(chance) => (mix(seen) >> 11) as f64 / ((1u64 << 53) as f64) < chance,
        }
    }
}

/// What happens to a struck request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Answers this instead; nothing is done.
    Status {
        /// The status code.
        code: u16,
        /// The body.
        #[serde(default)]
        body: String,
        /// Headers.
        #[serde(default)]
        headers: BTreeMap<String, String>,
    },
    /// Answers 200 with a page of HTML, as a captive portal does; nothing is done.
    Html,
    /// Does nothing and says nothing for so many milliseconds, then goes on; `null` for ever.
    Hang(Option<u64>),
    /// Waits so many milliseconds before the request is handled.
    Delay(u64),
    /// Resets the connection; nothing is done.
    Reset,
    /// Handles the request, then resets the connection instead of answering.
    ApplyThenDropAnswer,
    /// Handles the request, then never answers.
    ApplyThenHang,
    /// Handles the request, sends so many bytes of the answer's body, then breaks off.
    TruncateBody(u64),
}

impl Action {
    /// An answer of `code` with a short text.
    pub fn status(code: u16) -> Self {
        Self::Status {
            code,
            body: format!("injected {code}\n"),
            headers: BTreeMap::new(),
        }
    }
}

/// A rule and how often it matched and struck.
#[derive(Clone, Debug, Serialize)]
pub struct RuleState {
    /// The rule.
    #[serde(flatten)]
    pub rule: FaultRule,
    /// Requests that matched its route.
    pub seen: u64,
    /// Requests it struck.
    pub struck: u64,
}

/// The rules of one server, in order: the first that strikes wins.
#[derive(Default)]
pub struct Faults {
    rules: Mutex<Vec<RuleState>>,
}

impl Faults {
    /// Adds a rule behind the others.
    pub fn add(&self, rule: FaultRule) {
        self.rules.lock().push(RuleState {
            rule,
            seen: 0,
            struck: 0,
        });
    }

    /// Drops all rules.
    pub fn clear(&self) {
        self.rules.lock().clear();
    }

    /// The rules with their counts.
    pub fn rules(&self) -> Vec<RuleState> {
        self.rules.lock().clone()
    }

    /// How many requests were struck by any rule.
    pub fn struck(&self) -> u64 {
        self.rules.lock().iter().map(|state| state.struck).sum()
    }

    /// Decides what happens to a request of this template and this `METHOD /path`.
    pub(super) fn decide(&self, template: &str, request: &str) -> Option<Action> {
        let mut rules = self.rules.lock();
        for state in rules.iter_mut() {
            if !(matches(&state.rule.route, template) || matches(&state.rule.route, request)) {
                continue;
            }
            state.seen += 1;
            if state.rule.when.strikes(state.seen) {
                state.struck += 1;
                return Some(state.rule.action.clone());
            }
        }
        None
    }
}

/// Whether `pattern`, where `*` stands for any run of characters, covers all of `text`.
fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    let Some(last) = parts.next_back() else {
        return rest.is_empty();
    };
    for part in parts {
        let Some(at) = rest.find(part) else {
            return false;
        };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_run() {
        assert!(matches("GET /files/*", "GET /files/{id}"));
        assert!(matches("*", "anything"));
        assert!(matches("* /folders/*/files", "GET /folders/{id}/files"));
        assert!(!matches("GET /files", "GET /files/{id}"));
        assert!(!matches("*/files", "GET /files/{id}"));
        assert!(matches("GET cdn", "GET cdn"));
    }

    #[test]
    fn the_first_rule_that_strikes_wins() {
        let faults = Faults::default();
        faults.add(FaultRule::new("GET *", When::Nth(2), Action::Reset));
        faults.add(FaultRule::new("*", When::First(1), Action::Html));
        assert_eq!(faults.decide("GET /a", "GET /a"), Some(Action::Html));
        assert_eq!(faults.decide("GET /a", "GET /a"), Some(Action::Reset));
        assert_eq!(faults.decide("GET /a", "GET /a"), None);
        assert_eq!(faults.struck(), 2);
    }

    #[test]
    fn a_chance_is_about_what_it_says_and_the_same_each_time() {
        let count = || (1..=1000).filter(|n| When::Probability(0.2).strikes(*n)).count();
        assert!((150..250).contains(&count()), "{}", count());
        assert_eq!(count(), count());
    }

    #[test]
    fn rules_have_a_json_form() {
        let json = r#"{"route":"GET /files/*","when":{"first":2},"action":{"status":{"code":503}}}"#;
        let rule: FaultRule = serde_json::from_str(json).unwrap();
        assert_eq!(rule.when, When::First(2));
        let json = r#"{"route":"*","action":"reset"}"#;
        let rule: FaultRule = serde_json::from_str(json).unwrap();
        assert_eq!(rule, FaultRule::new("*", When::Always, Action::Reset));
        let rule: FaultRule = serde_json::from_str(r#"{"route":"*","action":{"hang":null}}"#).unwrap();
        assert_eq!(rule.action, Action::Hang(None));
    }
}
