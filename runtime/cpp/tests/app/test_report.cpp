#include "bundle/on_disk.h"
#include "check.h"
#include "report/report.h"

using namespace edgeproof;
using namespace edgeproof::app;

namespace {

json::Value report_of(const EngineInfo &engine) {
    const OnDisk disk;
    const Bundle bundle = disk.write();
    return Report("verify", {"edgeproof-run", "--verify"}, bundle, engine, "fp32").to_json();
}

bool warns(const json::Value &report, const std::string &text) {
    for (const json::Value &one : report.at("warnings").array())
        if (one.string() == text) return true;
    return false;
}

}  // namespace

TEST(details_and_notes_of_an_engine_are_in_the_report) {
    EngineInfo engine{"tensorrt", "10.3.0", "Orin", std::nullopt};
    engine.details = {{"memory", "managed, no copies"}, {"cuda_graph", "captured"}};
    engine.notes = {"compiled engine: built on another GPU."};
    const json::Value report = report_of(engine);
    const json::Value &row = report.at("engines").array().at(0);
    CHECK(row.at("name").string() == "tensorrt");
    CHECK(row.at("details").at("memory").string() == "managed, no copies");
    CHECK(row.at("details").at("cuda_graph").string() == "captured");
    CHECK(warns(report, engine.notes[0]));
}

TEST(an_engine_without_details_has_pythons_keys_only) {
    const json::Value report = report_of({"openvino", "2026.4", "CPU", 2});
    CHECK(report.at("engines").array().at(0).find("details") == nullptr);
    CHECK(!warns(report, "compiled engine: built on another GPU."));
}
