//! Real nats-servers, real processes and broken networks for tests.
