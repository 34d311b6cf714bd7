#pragma once

#include "edgeproof/json.h"

namespace edgeproof::app {

/// Facts about this machine at this moment: a report's "host", with the keys of `edgeproof_runtime.host.host_facts`.
/// What cannot be found out is null, or empty where it is a list.
json::Value host_facts(const json::Object &package_versions);

}  // namespace edgeproof::app
