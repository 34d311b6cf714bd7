#pragma once

#include <string>
#include <vector>

#include "edgeproof/bundle.h"
#include "engines/base.h"
#include "live/pipeline.h"
#include "options.h"
#include "verify/golden.h"

namespace edgeproof::app {

/// One "edgeproof.report/1" document, with the keys of `edgeproof_runtime.evidence.report.Report`. A key that is
/// absent means null.
class Report {
  public:
    /// Args: "run" or "verify"; the command line; facts of the machine are taken here.
    Report(std::string kind, const std::vector<std::string> &command, const Bundle &bundle, const EngineInfo &engine,
           const std::string &precision);

    void add(const PipelineResult &result, const Source &source, const Options &options);
    void add(const std::vector<Gate> &gates, std::size_t golden_cases);

    json::Value to_json() const;

  private:
    std::string kind_;
    std::string command_;
    std::string created_;
    json::Value host_;
    json::Value bundle_;
    json::Object settings_;
    json::Object counts_;
    json::Object latency_ms_;
    json::Object distribution_ms_;
    json::Object sections_;  ///< what a task says of labelled frames
    json::Value samples_{json::Array{}};
    json::Value timeline_;
    json::Array streams_;
    json::Value health_;
    json::Array sinks_;
    std::optional<double> median_ms_;
    json::Value throughput_fps_;
    json::Array gates_;
    EngineInfo engine_;
    std::string precision_;
    json::Value passed_;
    json::Array warnings_;
};

}  // namespace edgeproof::app
