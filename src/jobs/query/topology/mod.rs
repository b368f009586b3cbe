//! Commands about the shape of the cluster: domains, classes, hosts, devices.

pub mod accept_device;
pub mod classes;
pub mod devices;
pub mod domains;
pub mod hosts;
