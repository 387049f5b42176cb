//! Results in the order of their tasks. Pure.

use std::collections::BTreeMap;

/// In which order results are handed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// As they come.
    Arrival,
    /// As their tasks were started.
    Input,
}

/// Holds results back until those before them are there.
#[derive(Debug)]
pub(crate) struct Sorter<T> {
    order: Order,
    next: usize,
    held: BTreeMap<usize, T>,
}

impl<T> Sorter<T> {
    /// An empty one.
    pub(crate) fn new(order: Order) -> Self {
        Self {
            order,
            next: 0,
            held: BTreeMap::new(),
        }
    }

    /// How many results wait for an earlier one.
    pub(crate) fn held(&self) -> usize {
        self.held.len()
    }

    /// Takes the result of task `index` (from 0, each once) and gives what may be handed on.
    pub(crate) fn push(&mut self, index: usize, result: T) -> Vec<T> {
        if self.order == Order::Arrival {
            return vec![result];
        }
        self.held.insert(index, result);
        let mut ready = Vec::new();
        while let Some(result) = self.held.remove(&self.next) {
            ready.push(result);
            self.next += 1;
        }
        ready
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn whatever_the_arrival_the_input_order_comes_out(
            arrival in Just((0_usize..60).collect::<Vec<_>>()).prop_shuffle(),
        ) {
            let mut sorter = Sorter::new(Order::Input);
            let out: Vec<usize> = arrival.iter().flat_map(|&i| sorter.push(i, i)).collect();
            prop_assert_eq!(out, (0..60).collect::<Vec<_>>());
            prop_assert_eq!(sorter.held(), 0);
        }
    }

    #[test]
    fn each_prefix_is_handed_on_as_soon_as_it_is_complete() {
        let mut sorter = Sorter::new(Order::Input);
        assert!(sorter.push(1, 'b').is_empty());
        assert_eq!(sorter.push(0, 'a'), ['a', 'b']);
        assert_eq!(sorter.push(2, 'c'), ['c']);
        assert_eq!(Sorter::new(Order::Arrival).push(5, 'f'), ['f']);
    }
}
