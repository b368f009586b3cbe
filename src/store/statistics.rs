//! Sums over whole tables: how many files and bytes by domain, class, copies and device. Reads everything once, which takes
//! its time on a large database; needs no right but to read, so that a replica can be asked. Changes nothing.

use super::connection::{self, Backend, Purpose, StoreConnection, connect};
use super::error::StoreResult;
use super::queues::counts::{self, AllCounts};
use super::schema::{file, file_on};
use super::types::AnyInt;
use super::{classes, devices, domains, hosts};
use crate::ids::{ClassId, DevId, Dmid};
use crate::settings::DatabaseSettings;
use diesel::dsl::{count_star, sql};
use diesel::prelude::*;

/// Which sums are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Files by domain, class and number of copies.
    pub files: bool,
    /// Copies by device.
    pub devices: bool,
    /// The greatest number of a file.
    pub fids: bool,
    pub queues: bool,
}

/// Files of a class that have the same number of copies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSum {
    /// Empty for a domain that is not there any more.
    pub domain: String,
    pub class: String,
    pub devcount: i64,
    pub files: i64,
    /// Of each file once.
    pub bytes: i64,
}

/// Copies on a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceSum {
    pub devid: DevId,
    pub host: String,
    pub status: String,
    pub files: i64,
}

/// What was asked for.
#[derive(Clone, Debug, Default)]
pub struct Statistics {
    pub files: Vec<FileSum>,
    pub devices: Vec<DeviceSum>,
    pub highest_fid: Option<i64>,
    pub queues: Option<AllCounts>,
}

/// Asks the database of the settings.
///
/// # Errors
/// Those of connecting and reading.
pub fn read(settings: &DatabaseSettings, wanted: Wanted) -> StoreResult<Statistics> {
    let location = connection::location(settings)?;
    let mut conn = connect(&location, settings, Purpose::Read)?;
    let mut statistics = Statistics::default();
    if wanted.files {
        statistics.files = files(&mut conn, location.backend())?;
    }
    if wanted.devices {
        statistics.devices = copies(&mut conn)?;
    }
    if wanted.fids {
        let query = file::table.select(file::fid).order(file::fid.desc()).limit(1);
        statistics.highest_fid = each!(&mut conn, c => query.get_result::<i64>(c).optional())?;
    }
    if wanted.queues {
        statistics.queues = Some(counts::all(&mut conn)?);
    }
    Ok(statistics)
}

fn files(conn: &mut StoreConnection, backend: Backend) -> StoreResult<Vec<FileSum>> {
    // Servers sum into types of their own.
    let bytes = match backend {
        Backend::Sqlite => "SUM(length)",
        Backend::Mysql => "CAST(SUM(length) AS SIGNED)",
        Backend::Postgres => "CAST(SUM(length) AS BIGINT)",
    };
    let query = file::table.group_by((file::dmid, file::classid, file::devcount)).select((
        file::dmid,
        file::classid,
        file::devcount,
        count_star(),
        sql::<AnyInt>(bytes),
    ));
    let rows: Vec<(Dmid, ClassId, i64, i64, i64)> = each!(&mut *conn, c => query.load(c))?;
    let (domains, classes) = (domains::all(conn)?, classes::all(conn)?);
    let sum = |(dmid, classid, devcount, files, bytes)| {
        let domain = domains.iter().find(|row| row.dmid == dmid).map(|row| row.namespace.to_string());
        let class = classes.iter().find(|row| (row.dmid, row.classid) == (dmid, classid));
        let class = class.map(|row| row.classname.to_string()).or((classid.0 == 0).then(|| "default".to_owned()));
        let (domain, class) = (domain.unwrap_or_default(), class.unwrap_or_default());
        FileSum { domain, class, devcount, files, bytes }
    };
    let mut sums: Vec<FileSum> = rows.into_iter().map(sum).collect();
    sums.sort_by(|a, b| (&a.domain, &a.class, a.devcount).cmp(&(&b.domain, &b.class, b.devcount)));
    Ok(sums)
}

fn copies(conn: &mut StoreConnection) -> StoreResult<Vec<DeviceSum>> {
    let query = file_on::table.group_by(file_on::devid).select((file_on::devid, count_star()));
    let rows: Vec<(DevId, i64)> = each!(&mut *conn, c => query.load(c))?;
    let (devices, hosts) = (devices::all(conn)?, hosts::all(conn)?);
    let mut sums: Vec<DeviceSum> = devices
        .iter()
        .map(|device| {
            let host = hosts.iter().find(|host| host.hostid == device.hostid).and_then(|host| host.hostname.clone());
            let files = rows.iter().find(|(devid, _)| *devid == device.devid).map_or(0, |(_, files)| *files);
            let status = device.status.clone().unwrap_or_default();
            DeviceSum { devid: device.devid, host: host.unwrap_or_default(), status, files }
        })
        .collect();
    // Rows of devices that are not there any more are worth knowing of.
    let orphans = rows.iter().filter(|(devid, _)| !devices.iter().any(|device| device.devid == *devid));
    sums.extend(orphans.map(|&(devid, files)| DeviceSum { devid, host: String::new(), status: String::new(), files }));
    sums.sort_by_key(|sum| sum.devid.0);
    Ok(sums)
}
