//! The test vectors of replication-policies.md 12 and what we add to them.
//!
//! A line is `id | policy | mindevcount | devices | failed targets | result`, or `zones` with the network zones of the
//! lines that follow.

/// 12.1, 12.2, 12.7 (T1 and T2 are tests of their own).
pub const HOSTS_AND_DEVICES: &str = "
    H1 | MultipleHosts() | 2 | h1[d1=X d2=_] h2[d3=X d4=_] |  | all good
    H2 | MultipleHosts() | 2 | h1[d1=X d2=_] h2[d3=_ d4=_] |  | ideal 3,4; desperate 2
    H3 | MultipleHosts() | 2 | h1[d1=X d2=X] h2[d3=_ d4=_] |  | ideal 3,4; desperate -
    H4 | MultipleHosts() | 2 | h1[d1=_ d2=_] h2[d3=_ d4=_] |  | ideal 1,2,3,4; desperate -
    H5 | MultipleHosts() | 2 | h1[d1=X d2=_] h2=down[d3=_ d4=_] |  | ideal -; desperate 2
    H6 | MultipleHosts() | 2 | h1[d1=X d2=_] h2=down[d3=_ d4=_] h3[d5=_ d6=_] |  | ideal 5,6; desperate 2
    H7 | MultipleHosts() | 2 | h1[d1=_ d2=X,dead] h2[d3=X d4=_] |  | ideal 1; desperate 4
    H8 | MultipleHosts() | 3 | h1[d1=_ d2=X] h2[d3=X d4=_] |  | ideal 1,4; desperate -
    H9 | MultipleHosts() | 3 | h1[d1=_ d2=X] h2[d3=X d4=_] h3[d5=_] |  | ideal 5; desperate 1,4
    H10 | MultipleHosts() | 3 | h1[d1=_ d2=X] h2[d3=X d4=_] h3=down[d5=_] |  | ideal -; desperate 1,4
    H11 | MultipleHosts() | 2 | h1[d1=X d2=_] h2[d3=X d4=_] h3[d5=X] |  | too good
    H12 | MultipleHosts() | 2 | h1[d1=X d2=X] h2[d3=X d4=_] |  | too good
    H13 | MultipleHosts() | 3 | h1[d1=_ d2=X] h2[d3=X d4=X] |  | all good
    H14 | MultipleHosts() | 2 | h1[d3=X,drain d5=_] h2[d4=X d6=_] |  | all good
    H15 | MultipleHosts() | 2 | h1[d3=X,drain d5=X] h2[d4=X d6=_] |  | too good
    H16 | MultipleHosts() | 1 | h1[d1=X] h2[d2=_] |  | all good
    H17 | MultipleHosts() | 1 | h1[d1=X] h2[d2=X] |  | too good
    H18 | MultipleHosts() | 1 | h1[d1=X d2=X] h2[d3=_] |  | too good
    H19 | MultipleHosts() | 1 | h1[d1=_] h2[d2=_] |  | ideal 1,2; desperate -
    H20 | MultipleHosts(3) | 2 | h1[d1=X] h2[d2=X] h3[d3=_] |  | ideal 3; desperate -
    H21 | MultipleHosts(0) | 2 | h1[d1=X] h2[d2=X] h3[d3=_] |  | all good
    H22 | MultipleHosts() | 2 | h1[d1=X d2=X] |  | all good
    H23 | MultipleHosts() | 2 | h1[d1=X d2=_] |  | ideal 2; desperate -
    H24 | MultipleHosts() | 3 | h1[d1=X d2=X] |  | all good
    H25 | MultipleHosts() | 3 | h1[d1=X d2=X d3=_] |  | ideal 3; desperate -
    H26 | MultipleHosts() | 2 | h1[d1=X] |  | temp fail
    H27 | MultipleHosts() | 2 | h1[d1=X d2=_] h2[d3=_ d4=_] | 3,4 | ideal -; desperate 2
    H28 | MultipleHosts() | 2 | h1[d1=X d2=_] h2[d3=_ d4=_] | 2,3,4 | temp fail
    H29 | MultipleHosts() | 2 | h1[d1=X d2=X] h2=down[d3=_] |  | temp fail
    H30 | MultipleHosts() | 2 | h1[d1=X d2=X d5=_] h2=down[d3=_] |  | temp fail
    H31 | MultipleHosts() | 2 | h1[d1=X d2=X d5=_] h2[d3=_,readonly] |  | all good
    H32 | MultipleHosts() | 2 | h1[d1=X d5=_] h2[d3=_,readonly d4=_,drain] |  | ideal 5; desperate -
    H33 | MultipleHosts() | 2 | h1[d1=X d2=_] h2[d3=_,readable] |  | ideal -; desperate 2
    H34 | MultipleHosts() | 2 | h1[d1=X d2=_] h2!unreachable[d3=_] |  | ideal -; desperate 2
    H35 | MultipleHosts() | 2 | h1[d1=X] h2[d3=_,nousage] |  | ideal -; desperate -
    H36 | MultipleHosts() | 2 | h1[d1=X] h2[d3=_,used:950] |  | temp fail
    H37 | MultipleHosts() | 2 | h1[d1=X] h2[d3=_,used:900] |  | ideal 3; desperate -
    H38 | MultipleHosts() | 2 | h1[d1=X] h2[d3=_,used:901] |  | temp fail
    H39 | MultipleHosts() | 2 | h1[d1=X] h2[d3=_,nousage d4=_] |  | ideal 4; desperate -
    H40 | MultipleHosts() | 2 | h1[d1=X,down] h2[d3=_ d4=X] |  | all good
    H41 | MultipleHosts() | 2 | h1[d1=X,readonly] h2[d3=X,readonly] |  | all good
    H42 | MultipleHosts() | 3 | h1[d1=X] h2[d2=X] h3[d3=_] | 3 | temp fail
    H43 | MultipleHosts() | 3 | h1[d1=X] h2[d2=X] h3[d3=_ d4=_] | 3 | ideal 4; desperate -
    H44 | MultipleHosts() | 2 | h1=readonly[d1=X] h2[d2=_] h3[d3=_] |  | ideal 2,3; desperate -
    H45 | MultipleHosts() | 2 | h1=dead[d1=X] h2[d2=_] h3[d3=_] |  | ideal 2,3; desperate -
    H47 | MultipleHosts() | 4 | h1[d1=X d2=X] h2[d3=X] h3[d4=_,drain] |  | temp fail
    H48 | MultipleHosts() | 3 | h1[d1=X d2=X d3=X] h2[d4=_] |  | ideal 4; desperate -
    H49 | MultipleHosts() | 3 | h1[d1=X d2=X d3=X] h2[d4=_,dead] |  | all good
    H50 | MultipleHosts() | 2 | h1[d1=X,drain d2=X,drain] h2[d3=_,drain] |  | all good
    H51 | MultipleHosts() | 2 | h1[d1=X] h2[d2=X,dead] |  | temp fail
    H52 | MultipleHosts() | 2 | h1[d1=_,dead] h2[d2=_,dead] |  | temp fail
    H53 | MultipleHosts() | 3 | h1[d1=X d2=_] h2[d3=X] | 2 | temp fail
    H54 | MultipleHosts() | 5 | h1[d1=X] h2[d2=X] |  | all good
    H55 | MultipleHosts() | 5 | h1[d1=X] h2[d2=X,readonly] |  | all good
    H56 | MultipleHosts() | 5 | h1[d1=X] h2[d2=X] h3[d3=_,down] |  | temp fail
    D1 | MultipleDevices() | 2 | h1[d1=X d2=_] h2[d3=X d4=_] |  | all good
    D2 | MultipleDevices() | 2 | h1[d1=X d2=_] h2[d3=_ d4=_] |  | ideal 2,3,4; desperate -
    D3 | MultipleDevices() | 2 | h1[d1=X d2=X] h2[d3=_ d4=_] |  | all good
    D4 | MultipleDevices() | 2 | h1[d1=X d2=_] h2=down[d3=_ d4=_] |  | ideal 2; desperate -
    D5 | MultipleDevices() | 2 | h1[d1=_ d2=X,dead] h2[d3=X d4=_] |  | ideal 1,4; desperate -
    D6 | MultipleDevices() | 3 | h1[d1=X] h2[d2=X] |  | all good
    D7 | MultipleDevices() | 1 | h1[d1=X d2=X] |  | too good
    D8 | MultipleDevices() | 1 | h1[d1=X d2=_] |  | all good
    D9 | MultipleDevices(3) | 2 | h1[d1=X d2=X d3=_] |  | ideal 3; desperate -
    D10 | MultipleDevices() | 2 | h1[d1=X] |  | temp fail
    D11 | MultipleDevices() | 2 | h1[d1=X d2=_,nousage] |  | ideal -; desperate -
    D12 | MultipleDevices() | 2 | h1[d1=X d2=_] | 2 | temp fail
    D13 | MultipleDevices() | 2 | h1[d1=X,drain d2=X] |  | all good
    T3 | MultipleHosts() | 2 | h1[d1=X d2=_,used:1000] h2[d3=_,used:1000,total:1000000] |  | ideal 3; desperate -
    T4 | MultipleHosts() | 2 | h1[d1=X] h2[d3=_,used:100,total:100] |  | temp fail
    T5 | MultipleHosts() | 2 | h1[d1=X,dead] h2[d3=X,dead] h3[d4=_] |  | ideal 4; desperate -
";

/// 12.8, with a shim for the public plugins.
pub const ON_HOSTS: &str = "
    O1 | OnHosts(h9) | 1 | h1[d1=X] h2[d2=_] h9[d9=_] |  | ideal 2,9; desperate -
    O2 | OnHosts(h9) | 1 | h1[d1=X] h9[d9=X] |  | all good
    O3 | OnHosts(h9) | 1 | h1[d1=X] h2[d2=X] h9[d9=X] |  | too good
    O4 | OnHosts(h9) | 1 | h9[d9=X] h1[d1=_] |  | ideal 1; desperate -
    O5 | OnHosts(h8,h9) | 1 | h1[d1=X] h8[d8=X] h9[d9=X] |  | too good
    O6 | OnHosts(h9) | 1 | h1[d1=_] h2[d2=_] h9[d9=_] |  | ideal 1,2,9; desperate -
    O7 | OnHosts(h9) | 1 | h1[d1=X] h9[d9=_] | 9 | temp fail
    O8 | OnHosts(h9) | 1 | h9[d8=X d9=X] h1[d1=_] |  | ideal 1; desperate -
    O9 | NotOnHosts(h9) | 2 | h1[d1=X] h2[d2=_] h9[d9=_] |  | ideal 2; desperate -
    O10 | NotOnHosts(h9) | 2 | h1[d1=X] h2[d2=X] h9[d9=_] |  | all good
    O11 | NotOnHosts(h9) | 2 | h1[d1=X d3=X] h2[d2=X] h9[d9=_] |  | too good
    O12 | NotOnHosts(h9) | 2 | h1[d1=X] h9[d9=_] |  | temp fail
";

/// 12.4 but N22 and N23, 12.5, 12.6 but Q14.
pub const NETWORKS: &str = "
    N1 | MultipleNetworks() | 2 | h1@192.168.0.2[d1=X d2=_] h2@192.168.0.3[d3=X d4=_] |  | all good
    N2 | MultipleNetworks() | 2 | h1@192.168.0.2[d1=X d2=_] h2@192.168.0.3[d3=_ d4=_] |  | ideal -; desperate 2,3,4
    N3 | MultipleNetworks() | 2 | h1@192.168.0.2[d1=X d2=X] h2@192.168.0.3[d3=_ d4=_] |  | ideal -; desperate 3,4
    N4 | MultipleNetworks() | 2 | h1@192.168.0.2[d1=_ d2=X] h2@192.168.0.3[d3=_ d4=_] h3@10.0.0.2[d5=_ d6=_] h4@10.0.0.3[d7=_ d8=_] |  | ideal 5,6,7,8; desperate 1,3,4
    N5 | MultipleNetworks() | 2 | h1@192.168.0.2[d1=_ d2=X] h2@192.168.0.3[d3=_ d4=_] h3=down@10.0.0.2[d5=_ d6=_] h4=down@10.0.0.3[d7=_ d8=_] |  | ideal -; desperate 1,3,4
    N6 | MultipleNetworks() | 2 | h1@192.168.0.2[d1=_ d2=X] h2@192.168.0.3[d3=_] h3=down@10.0.0.2[d5=_] h4@146.101.1.1[d7=_] |  | ideal 7; desperate 1,3
    N7 | MultipleNetworks() | 2 | h1@192.168.0.2[d1=_ d2=X,dead] h2@192.168.0.3[d3=_ d4=_] h3@10.0.0.2[d5=X d6=_] |  | ideal 1,3,4; desperate 6
    N8 | MultipleNetworks() | 2 | h1@192.168.0.2[d1=_ d2=X] h2@192.168.0.3[d3=_ d4=_] h3@10.0.0.2[d5=X d6=_] |  | all good
    N9 | MultipleNetworks() | 2 | h1@192.168.0.2[d1=_ d2=X] h2@192.168.0.3[d3=X d4=X] |  | too good
    N10 | MultipleNetworks() | 2 | h1@192.168.0.2[d1=X d2=X] h2@192.168.0.3[d3=X d4=X] h3@10.0.0.2[d5=_ d6=_] h4@10.0.0.3[d7=_ d8=_] |  | ideal 5,6,7,8; desperate -
    N11 | MultipleNetworks() | 2 | h1@192.168.0.2[d1=X] h2@192.168.0.3[d2=X] h3@10.0.0.2[d3=_,down] |  | all good
    N12 | MultipleNetworks() | 3 | h1@192.168.0.2[d1=X] h2@10.0.0.2[d2=X] h3@192.168.0.3[d3=_] |  | ideal -; desperate 3
    N13 | MultipleNetworks() | 1 | h1@192.168.0.2[d1=X] h2@10.0.0.2[d2=X] h3@192.168.0.3[d3=X] |  | all good
    N14 | MultipleNetworks(3) | 2 | h1@192.168.0.2[d1=X] h2@10.0.0.2[d2=X] h3@192.168.0.3[d3=_] |  | ideal -; desperate 3
    N15 | MultipleNetworks() | 2 | h1@192.168.0.2[d1=X] h2@192.168.0.3[d2=X] h3@10.0.0.2[d3=_] |  | ideal 3; desperate -
    N16 | MultipleNetworks() | 2 | h1@192.168.0.2[d1=X] h2@192.168.0.3[d2=X] h3@10.0.0.2[d3=_] | 3 | temp fail
    N17 | MultipleNetworks() | 2 | h1@192.168.0.2[d1=X] h2@192.168.0.3[d2=X] |  | all good
    N18 | MultipleNetworks() | 2 | h1@192.168.0.2[d1=X d2=X] h2@10.0.0.2[d3=X] |  | all good
    N19 | MultipleNetworks() | 2 | h1@192.168.0.2[d1=X d2=X d4=_] h2@10.0.0.2[d3=X] |  | too good
    N24 | MultipleNetworks() | 2 | h1@10.0.0.1[d1=X d2=X] h2@10.9.0.2[d3=_] | 3 | temp fail
    zones near=10.5.0.0/16; far=10.6.0.0/16
    N20 | MultipleNetworks() | 2 | h1@10.5.0.1[d1=X] h2@10.5.9.9[d2=_] h3@10.6.0.1[d3=_] |  | ideal 3; desperate 2
    zones a=10.5.0.0/24; b=10.5.1.0/24
    N21 | MultipleNetworks() | 2 | h1@10.5.0.1[d1=X] h2@10.5.0.2[d2=_] h3@10.5.1.1[d3=_] |  | ideal 3; desperate 2
    zones near=10.5.0.0/16; far=10.6.0.0/16
    Z1 | HostsPerNetwork(near=2,far=1) | 2 | h1@10.5.0.1[d1=X] h2@10.5.0.2[d2=X] h3@10.6.0.1[d3=X] |  | all good
    Z2 | HostsPerNetwork(near=2,far=1) | 2 | h1@10.5.0.1[d1=X] h2@10.5.0.2[d2=_] h3@10.6.0.1[d3=_] |  | ideal 2,3; desperate -
    Z3 | HostsPerNetwork(near=2,far=1) | 2 | h1@10.5.0.1[d1=X d5=_] h2@10.5.0.2[d2=X] h3@10.6.0.1[d3=_] |  | ideal 3; desperate -
    Z4 | HostsPerNetwork(near=2,far=1) | 2 | h1@10.5.0.1[d1=X d5=_] h2@10.5.0.2[d2=X] h3=down@10.6.0.1[d3=_] |  | temp fail
    Z5 | HostsPerNetwork(near=2,far=1) | 2 | h1@10.5.0.1[d1=X d5=_] h3@10.6.0.1[d3=X] |  | ideal -; desperate 5
    Z6 | HostsPerNetwork(near=2,far=1) | 2 | h1@10.5.0.1[d1=X d5=X] h3@10.6.0.1[d3=X] |  | all good
    Z7 | HostsPerNetwork(near=2,far=1) | 2 | h1@10.5.0.1[d1=X d5=X] h2@10.5.0.2[d2=X] h3@10.6.0.1[d3=X] |  | too good
    Z8 | HostsPerNetwork(near=2,far=1) | 2 | h1@10.5.0.1[d1=X] h2@10.5.0.2[d2=X] h3@10.6.0.1[d3=X] h4@10.6.0.2[d4=X] |  | too good
    Z9 | HostsPerNetwork(near=2) | 2 | h1@10.5.0.1[d1=X] h2@10.5.0.2[d2=X] h3@10.6.0.1[d3=X] |  | all good
    Z10 | HostsPerNetwork(near=2,far=1) | 2 | h1@10.5.0.1[d1=X d5=X] h2@10.5.0.2[d2=_] h3@10.6.0.1[d3=X] |  | ideal 2; desperate -
    Z11 | HostsPerNetwork(near=2,far=1) | 2 | h1@10.5.0.1[d1=X d5=X d6=X] h2@10.5.0.2[d2=_] h3@10.6.0.1[d3=X] |  | ideal 2; desperate -
    Z12 | HostsPerNetwork(near=2,far=1) | 2 | h1@10.5.0.1[d1=X] h2@10.5.0.2[d2=_] h3@10.6.0.1[d3=X] | 2 | temp fail
    Z13 | HostsPerNetwork(near=2,far=1) | 2 | h1@10.5.0.1[d1=X d9=_] h2@10.5.0.2[d2=_] h3@10.6.0.1[d3=X] | 2 | ideal -; desperate 9
    Z14 | HostsPerNetwork(near=2,far=1) | 2 | h1@10.5.0.1[d1=X] h2@10.5.0.2[d2=X] h9@172.16.0.1[d9=X] h3@10.6.0.1[d3=X] |  | all good
    Z15 | HostsPerNetwork(nowhere=1) | 2 | h1@10.5.0.1[d1=X] |  | temp fail
    Z16 | HostsPerNetwork() | 2 | h1@10.5.0.1[d1=X] |  | all good
    Z17 | HostsPerNetwork(near=1) | 2 | h1@10.5.0.1[d1=X d2=X] h2@10.5.0.2[d3=_] |  | too good
    Z18 | HostsPerNetwork(near=2,far=1) | 2 | h1@10.5.0.1[d1=X,drain] h2@10.5.0.2[d2=X,dead d4=_] h3@10.6.0.1[d3=X,readonly] |  | ideal 4; desperate -
    Z19 | HostsPerNetwork(near=3) | 2 | h1@10.5.0.1[d1=X d2=_] h2@10.5.0.2[d3=X d4=_] |  | ideal -; desperate 2,4
    Z20 | HostsPerNetwork(near=3) | 2 | h1@10.5.0.1[d1=X d2=_] h2@10.5.0.2[d3=X d4=_] h3@10.5.0.3[d5=_] |  | ideal 5; desperate 2,4
    zones one=127.0.0.0/16
    Q1 | HostsPerNetwork(one=2) | 2 | h1@127.0.0.1[d1=X d2=_] h2@127.0.0.2[d3=X d4=_] |  | all good
    Q2 | HostsPerNetwork(one=2) | 2 | h1@127.0.0.1[d1=X d2=_] h2@127.0.0.2[d3=_ d4=_] |  | ideal 3,4; desperate 2
    Q3 | HostsPerNetwork(one=2) | 2 | h1@127.0.0.1[d1=X d2=X] h2@127.0.0.2[d3=_ d4=_] |  | ideal 3,4; desperate -
    Q5 | HostsPerNetwork(one=2) | 2 | h1@127.0.0.1[d1=X d2=_] h2=down@127.0.0.2[d3=_ d4=_] |  | ideal -; desperate 2
    Q11 | HostsPerNetwork(one=2) | 2 | h1@127.0.0.1[d1=X d2=_] h2@127.0.0.2[d3=X d4=_] h3@127.0.0.3[d5=X] |  | too good
    Q12 | HostsPerNetwork(one=2) | 2 | h1@127.0.0.1[d1=X d2=X] h2@127.0.0.2[d3=X d4=_] |  | too good
";

/// The vectors whose world is cut to the targets of a rebalance (H46, D14, Q14, R1 to R8), or whose zone has two masks
/// (R9, R10). A world that is whole is what W1 and W2 demand; Q7 demands that any zone does.
pub const WHOLE_WORLD: &str = "
    H46 | MultipleHosts() | 3 | h1[d1=X] h2[d2=X] h3[d9=_] h4[d5=_] h5[d6=_] |  | ideal 5,6,9; desperate -
    D14 | MultipleDevices() | 3 | h1[d1=X] h2[d2=X] h3[d9=_] h4[d5=_] h5[d6=_] |  | ideal 5,6,9; desperate -
    R1 | MultipleHosts() | 2 | h1[d11=X d12=_] h2[d21=_] |  | ideal 21; desperate 12
    R2 | MultipleHosts() | 2 | h1[d11=X d12=X] h2[d21=_] |  | ideal 21; desperate -
    R3 | MultipleHosts() | 3 | h1[d11=X] h2[d21=X] h3[d31=_ d32=_] |  | ideal 31,32; desperate -
    R4 | MultipleHosts() | 3 | h1[d11=X] h2[d21=X] h3[d31=_ d32=_ d33=_] |  | ideal 31,32,33; desperate -
    R5 | MultipleHosts() | 2 | h1[d11=X d12=_] h2[d21=_] h3[d31=_] |  | ideal 21,31; desperate 12
    R6 | MultipleDevices() | 3 | h1[d11=X] h2[d21=X] h3[d31=_ d32=_] |  | ideal 31,32; desperate -
    zones a=10.0.0.0/24; b=10.0.1.0/24
    R7 | HostsPerNetwork(a=1,b=1) | 2 | h1@10.0.0.1[d11=X] h2@10.0.1.1[d21=_] h3@10.0.0.3[d31=_] |  | ideal 21; desperate -
    R8 | MultipleNetworks() | 2 | h1@10.0.0.1[d11=X] h2@10.0.1.1[d21=_] h3@10.0.0.3[d31=_] |  | ideal 21; desperate 31
    zones a=10.0.0.0/24, 10.0.9.0/24
    R9 | MultipleNetworks() | 2 | h1@10.0.0.1[d11=X] h2@10.0.9.1[d21=_] h3@10.1.0.3[d31=_] |  | ideal 31; desperate 21
    R10 | HostsPerNetwork(a=2) | 2 | h1@10.0.0.1[d11=X] h2@10.0.9.1[d21=_] h3@10.1.0.3[d31=_] |  | ideal 21; desperate -
    zones one=127.0.0.0/16
    Q14 | HostsPerNetwork(one=2) | 2 | h1@127.0.0.1[d1=X d2=_] h2=down@127.0.0.2[d3=_ d4=_] h3@127.0.0.3[d5=_ d6=_] |  | ideal 5,6; desperate 2
";

/// Enough copies on too few networks or hosts: wait for another one rather than pile up copies (Q8).
pub const NO_PILES: &str = "
    N22 | MultipleNetworks() | 2 | h1@10.0.0.1[d1=X d2=X d5=_] h2=down@10.0.0.2[d3=_] |  | temp fail
    N23 | MultipleNetworks() | 2 | h1@10.0.0.1[d1=X d2=X d5=X d6=_] h2=down@10.0.0.2[d3=_] |  | temp fail
    another host of a network that is reached does not help | MultipleNetworks() | 2 | h1@10.0.0.1[d1=X] h2@10.0.0.2[d2=X] h3@10.0.0.3[d3=_] h4=down@10.9.0.1[d4=_] |  | temp fail
    but it does while hosts are missing too | MultipleNetworks() | 2 | h1@10.0.0.1[d1=X d2=X d5=_] h3@10.0.0.3[d3=_] h4=down@10.9.0.1[d4=_] |  | ideal -; desperate 3
    no further copy on drained hosts' alive devices | MultipleNetworks() | 2 | h1@10.0.0.1[d1=X,drain d5=_] h2@10.0.0.2[d2=X,drain] h3=down@10.9.0.1[d3=_] |  | temp fail
    a further host of unknown free space | MultipleHosts() | 2 | h1[d1=X d2=X d3=_] h2[d4=_,nousage] |  | temp fail
    zones near=10.5.0.0/16; far=10.6.0.0/16
    the second host of the zone is down | HostsPerNetwork(near=2) | 2 | h1@10.5.0.1[d1=X d2=X d3=_] h2=down@10.5.0.2[d4=_] |  | temp fail
    one zone waits, the other does not | HostsPerNetwork(near=2,far=1) | 2 | h1@10.5.0.1[d1=X d2=X d3=_] h2=down@10.5.0.2[d4=_] h3@10.6.0.1[d5=_] |  | ideal 5; desperate -
";

/// replication-policies.md 7, by its definition.
pub const UNIONS: &str = "
    content when all parts are | Union(MultipleHosts(2), MultipleDevices(3)) | 2 | h1[d1=X d2=X] h2[d3=X] |  | all good
    too good only when all parts are | Union(MultipleHosts(2), MultipleDevices(2)) | 2 | h1[d1=X d2=X] h2[d3=X] |  | too good
    one part wants more | Union(MultipleHosts(1), MultipleHosts(3)) | 2 | h1[d1=X] h2[d2=X] h3[d3=_] |  | ideal 3; desperate -
    the answer of the first unhappy part | Union(MultipleHosts(2), MultipleDevices(2)) | 2 | h1[d1=X d2=_] h2[d3=_] |  | ideal 3; desperate 2
    a part that cannot be served does not hold up the others | Union(OnHosts(nobody), MultipleDevices(3)) | 1 | h1[d1=X] h2[d2=X d3=_] |  | ideal 3; desperate -
    nor one that names no place | Union(MultipleHosts(2), MultipleDevices(3)) | 2 | h1[d1=X d2=_] h2[d3=_,nousage] |  | ideal -; desperate 2
    no part can be served | Union(MultipleHosts(2), MultipleDevices(3)) | 2 | h1[d1=X d2=X] h2=down[d3=_] |  | temp fail
    unions in unions | Union(Union(MultipleHosts(2)), Union(MultipleDevices(2), MultipleDevices(1))) | 2 | h1[d1=X] h2[d2=_] |  | ideal 2; desperate -
    zones near=10.5.0.0/16; far=10.6.0.0/16
    hosts, and one of them far | Union(MultipleHosts(2), HostsPerNetwork(far=1)) | 2 | h1@10.5.0.1[d1=X] h2@10.5.0.2[d2=X] h3@10.6.0.1[d3=_] |  | ideal 3; desperate -
";

/// Where the plugins are not followed, and what the tables do not show.
pub const BETTER_THAN_THE_PLUGINS: &str = "
    twice the copies, h9 down: no third one elsewhere | OnHosts(h9) | 1 | h1[d1=X] h2[d2=X] h3[d3=_] h9=down[d9=_] |  | temp fail
    the same, h9 is back: named hosts are still owed | OnHosts(h9) | 1 | h1[d1=X] h2[d2=X] h3[d3=_] h9[d9=_] |  | ideal 9; desperate -
    enough on named hosts: others only | OnHosts(h8,h9) | 1 | h8[d8=X] h9[d9=_] h1[d1=_] |  | ideal 1; desperate -
    a name of no host | OnHosts(nobody) | 1 | h1[d1=X] h2[d2=_] |  | ideal 2; desperate -
    a copy on a named host does not count | NotOnHosts(h9) | 2 | h9[d9=X] h1[d1=X] h2[d2=_] |  | ideal 2; desperate -
    enough elsewhere: that on the named host is surplus | NotOnHosts(h9) | 2 | h9[d9=X] h1[d1=X] h2[d2=X] |  | too good
    no other host: it stays where it is | NotOnHosts(h9) | 1 | h9[d9=X d8=_] |  | temp fail
    two devices of one host are one place | NotOnHosts(h9) | 2 | h1[d1=X d3=X] h2[d2=_] h9[d9=_] |  | ideal 2; desperate -
    too many on named hosts, none on others: that comes first | OnHosts(h8,h9) | 1 | h8[d8=X] h9[d9=X] h1[d1=_] |  | ideal 1; desperate -
    too many on others, none on named hosts | OnHosts(h9) | 1 | h1[d1=X] h2[d2=X] h3[d3=X] h9[d9=_] |  | ideal 9; desperate -
    as MultipleHosts | MultipleHostsRandom() | 2 | h1[d1=X d2=_] h2[d3=_ d4=_] |  | ideal 3,4; desperate 2
    space unknown | MultipleHostsRandom(2) | 1 | h1[d1=X] h2[d3=_,nousage d4=_] |  | ideal 4; desperate -
";
