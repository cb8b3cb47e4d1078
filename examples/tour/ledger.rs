//! The accounts as a value in Redis.
//!
//! All of it is one value, so one fenced write is one whole piece of business: whoever dies before
//! it has changed nothing.

use crate::accounts::{ACCOUNTS, Accounts};

/// The accounts, and how often each teller has served a customer.
pub struct Ledger {
    pub accounts: Accounts,
    pub served: Vec<u64>,
}

impl Ledger {
    pub fn open(tellers: usize) -> Self {
        Self { accounts: Accounts::new(), served: vec![0; tellers] }
    }

    /// Serves one customer.
    pub fn serve(&mut self, teller: usize) {
        self.accounts.serve();
        self.served[teller] += 1;
    }

    /// Three lines: failed audits, customers of each teller, balances.
    pub fn to_text(&self) -> String {
        let line = |numbers: &[u64]| numbers.iter().map(|n| format!("{n} ")).collect::<String>();
        let Self { accounts: Accounts { balances, failed_audits }, served } = self;
        format!("{failed_audits}\n{}\n{}", line(served), line(balances))
    }

    /// None if this is no ledger.
    pub fn from_text(text: &[u8]) -> Option<Self> {
        let mut lines = std::str::from_utf8(text).ok()?.lines();
        let mut line = || -> Option<Vec<u64>> {
            lines.next()?.split_whitespace().map(|number| number.parse().ok()).collect()
        };
        let (failed_audits, served, balances) = (*line()?.first()?, line()?, line()?);
        let accounts = Accounts { balances, failed_audits };
        (accounts.balances.len() == ACCOUNTS).then_some(Self { accounts, served })
    }
}
