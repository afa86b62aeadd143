//! Every key of the configuration, as the types have them, is changed beneath the real programs: what the reference says
//! counts at once is taken up, and what it says needs a restart is named as that.

mod driven;
mod seed;
mod values;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use mailtier_config::{Config, Key};
use toml::{Table, Value};

use crate::loads::new_database;
use driven::{Driven, Report};
use seed::Seed;
use values::Pool;

/// The programs.
const PROGRAMS: [&str; 3] = ["inbound", "outbound", "queue"];
/// So many other keys may have to be changed along with one: a certificate has a key and an authority, and URLs go with it.
const COMPANIONS: usize = 3;
/// Configurations that are tried until one with another value of a key is good.
const TRIES: usize = 2000;

/// A key, and which of the tables is meant that have it in the seed.
#[derive(Clone)]
struct Target {
    path: String,
    key: &'static Key,
    nth: usize,
}

/// Every key that has a value of its own.
fn targets() -> Vec<Target> {
    let sections = Config::SECTIONS.iter().map(|(name, _, keys)| (*name, *keys));
    let tables = Config::TABLES.iter().map(|(name, _, keys)| (name.trim_matches(['[', ']']), *keys));
    let all = sections.chain(tables).flat_map(|(place, keys)| {
        keys.iter().map(move |key| Target { path: format!("{place}.{}", key.name), key, nth: 0 })
    });
    // What is said of a table is said of its keys.
    all.filter(|target| target.key.kind != "table").collect()
}

impl Target {
    /// The tables that may have it.
    fn tables<'a>(&self, tree: &'a mut Table) -> Vec<&'a mut Table> {
        let mut steps: Vec<&str> = self.path.split('.').collect();
        steps.pop();
        let within = |table: &'a mut Table, step: &str| match table.get_mut(step) {
            Some(Value::Table(inner)) => vec![inner],
            Some(Value::Array(tables)) => tables.iter_mut().filter_map(Value::as_table_mut).collect(),
            _ => Vec::new(),
        };
        steps
            .into_iter()
            .fold(vec![tree], |tables, step| tables.into_iter().flat_map(|table| within(table, step)).collect())
    }

    /// One for each of these tables.
    fn each(&self, seed: &Table) -> Vec<Self> {
        let count = self.tables(&mut seed.clone()).len();
        assert!(count > 0, "the seed has no table for {}", self.path);
        (0..count).map(|nth| Self { nth, ..self.clone() }).collect()
    }

    fn table<'a>(&self, tree: &'a mut Table) -> &'a mut Table {
        let mut tables = self.tables(tree);
        let nth = self.nth.min(tables.len() - 1);
        tables.swap_remove(nth)
    }

    fn get(&self, tree: &Table) -> Option<Value> {
        self.table(&mut tree.clone()).get(self.key.name).cloned()
    }

    fn set(&self, tree: &Table, value: Option<Value>) -> Table {
        let mut tree = tree.clone();
        let table = self.table(&mut tree);
        match value {
            Some(value) => table.insert(self.key.name.to_owned(), value),
            None => table.remove(self.key.name),
        };
        tree
    }
}

/// A path without what tells one table of a list from another.
fn bare(path: &str) -> String {
    let mut depth = 0;
    let outside = |character: char| {
        depth += i32::from(character == '[') - i32::from(character == ']');
        depth == 0 && character != ']'
    };
    path.chars()
        .filter({
            let mut outside = outside;
            move |character| outside(*character)
        })
        .collect()
}

/// Changes the keys of one program.
struct Search<'a> {
    driven: Driven,
    targets: &'a [Target],
    pool: Pool,
    seed: &'a Table,
    /// What was good for a key before: in another program, or beside another key.
    good: &'a mut BTreeMap<String, Value>,
    tries: usize,
}

impl Search<'_> {
    /// What the program says of another value of a key, whichever it is that can be used.
    fn change(&mut self, target: &Target) -> Result<Report, String> {
        self.tries = 0;
        let mut said = String::new();
        for target in target.each(self.seed) {
            match self.change_one(&target) {
                Ok(report) => return Ok(report),
                Err(error) => said = error,
            }
        }
        Err(format!("no other value of {} can be used; the last was {said}", target.path))
    }

    fn change_one(&mut self, target: &Target) -> Result<Report, String> {
        let current = target.get(self.seed);
        let first = self.good.get(&target.path).cloned();
        let mut waiting: VecDeque<Value> =
            first.into_iter().chain(self.pool.values(target.key, current.as_ref())).collect();
        let mut tried: Vec<Value> = Vec::new();
        let mut said = String::new();
        while let Some(value) = waiting.pop_front() {
            if tried.contains(&value) {
                continue;
            }
            match self.settle(&target.set(self.seed, Some(value.clone())), &[target]) {
                Ok(report) => {
                    self.good.insert(target.path.clone(), value);
                    return Ok(report);
                }
                Err(error) => said = format!("{value}: {error}"),
            }
            // What would be right may be said, such as the words that there are.
            let words = quoted(&said).flat_map(|word| self.pool.wrap(target.key, word, None));
            words.for_each(|value| waiting.push_front(value));
            tried.push(value);
        }
        Err(said)
    }

    /// What the program says of a configuration, if need be with other keys that it asks for, or without some; `changed` are
    /// those that were changed already, the one that is meant first.
    fn settle(&mut self, tree: &Table, changed: &[&Target]) -> Result<Report, String> {
        self.tries += 1;
        if self.tries > TRIES {
            return Err(format!("nothing was found in {TRIES} tries"));
        }
        let error = match self.driven.reload(tree, Some(&changed[0].path)) {
            Ok(report) => return Ok(report),
            Err(error) => error,
        };
        if changed.len() > COMPANIONS {
            return Err(error);
        }
        for other in self.mentioned(&error, changed) {
            let remedies: Vec<Option<Value>> = match other.get(tree) {
                Some(_) => vec![None],
                None => {
                    let known = self.good.get(&other.path).cloned();
                    known.into_iter().chain(self.pool.values(other.key, None)).map(Some).collect()
                }
            };
            for remedy in remedies {
                let tree = other.set(tree, remedy.clone());
                if let Ok(report) = self.settle(&tree, &[changed, &[&other]].concat()) {
                    self.good.extend(remedy.map(|value| (other.path.clone(), value)));
                    return Ok(report);
                }
            }
        }
        Err(error)
    }

    /// The other keys that a complaint speaks of.
    fn mentioned(&self, error: &str, changed: &[&Target]) -> Vec<Target> {
        let (beside, _) = changed[0].path.rsplit_once('.').unwrap();
        let named: BTreeSet<String> =
            quoted(error).map(bare).flat_map(|word| [format!("{beside}.{word}"), word]).collect();
        let is_new = |target: &&Target| !changed.iter().any(|one| one.path == target.path);
        self.targets.iter().filter(|target| named.contains(&target.path)).filter(is_new).cloned().collect()
    }
}

/// What stands between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

#[test]
fn what_is_said_to_count_at_once_does_and_what_needs_a_restart_says_so() {
    let database = new_database();
    let seed = Seed::new(&database.url());
    let targets = targets();
    let mut good = BTreeMap::new();
    let mut told: BTreeMap<&str, Report> = targets.iter().map(|target| (&*target.path, Report::default())).collect();
    let mut wrong = Vec::new();
    for name in PROGRAMS {
        let driven = Driven::start(name, seed.folder(), seed.tree());
        let pool = Pool::new(seed.paths(name));
        let mut search = Search { driven, targets: &targets, pool, seed: seed.tree(), good: &mut good, tries: 0 };
        for target in &targets {
            let told = told.get_mut(&*target.path).unwrap();
            // What reads a key says the same of it in every program.
            if told.names(&target.path) {
                continue;
            }
            match search.change(target) {
                Ok(report) => told.extend(report),
                Err(error) => wrong.push(format!("{name}: {error}")),
            }
            if search.tries > 1 {
                // Another key may have been changed as well, and its turn is to come.
                search.driven.reload(seed.tree(), None).unwrap();
            }
        }
    }
    wrong.extend(targets.iter().filter_map(|target| misjudged(target, &told[&*target.path])));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What programs say of a key, where that is not what the reference says.
fn misjudged(target: &Target, told: &Report) -> Option<String> {
    let (now, restart) = (told.now.contains(&target.path), told.restart.contains(&target.path));
    let wanted = (!target.key.needs_restart, target.key.needs_restart);
    let shown = if target.key.needs_restart { "needs a restart" } else { "counts at once" };
    ((now, restart) != wanted)
        .then(|| format!("{}: {shown}, and programs say: now {now}, restart {restart}", target.path))
}
