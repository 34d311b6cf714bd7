#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "check.h"
#include "engines/trial.h"

using namespace edgeproof;
using namespace edgeproof::app;

namespace {

constexpr TrialLimits generous{60.0, 4096.0};

/// An engine that harms the process which runs it.
class Faulty : public Engine {
  public:
    explicit Faulty(pid_t safe) : safe_(safe) {}
    EngineInfo describe() const override { return {"faulty", "1", "CPU", std::nullopt}; }
    void *input() override { return input_; }
    void run() override {
        if (::getpid() != safe_) ::raise(SIGSEGV);
    }
    const float *output(std::size_t) const override { return nullptr; }

  private:
    pid_t safe_;
    char input_[64] = {};
};

}  // namespace

TEST(work_that_ends_is_done) {
    const Trial trial = try_in_child([] {}, generous);
    CHECK(trial.done && trial.fault.empty());
}

TEST(an_exception_does_no_harm) {
    const Trial trial = try_in_child([] { throw std::runtime_error("refused"); }, generous);
    CHECK(!trial.done && trial.fault.empty());
}

TEST(signals_and_exits_are_named) {
    CHECK(try_in_child([] { ::raise(SIGSEGV); }, generous).fault == "crashes on this model (SIGSEGV)");
    CHECK(try_in_child([] { ::raise(SIGFPE); }, generous).fault == "crashes on this model (SIGFPE)");
    CHECK(try_in_child([] { std::abort(); }, generous).fault == "crashes on this model (SIGABRT)");
    CHECK(try_in_child([] { ::_exit(3); }, generous).fault == "ends the process on this model (exit code 3)");
    CHECK(!try_in_child([] { ::raise(SIGKILL); }, generous).lasting);
}

TEST(limits_hold) {
    const Trial hangs = try_in_child([] { std::this_thread::sleep_for(std::chrono::minutes(10)); }, {0.2, 4096.0});
    CHECK(hangs.exceeded == "seconds" && hangs.fault.rfind("hangs", 0) == 0);
    const Trial eats = try_in_child(
        [] {
            std::vector<std::string> held;
            for (int i = 0; i < 400; ++i) {
                held.emplace_back(std::size_t{8} << 20, 'x');
                std::this_thread::sleep_for(std::chrono::milliseconds(2));
            }
        },
        {60.0, 300.0});
    CHECK(eats.exceeded == "mib" && eats.fault.rfind("exhausts", 0) == 0);
}

TEST(an_outcome_is_kept) {
    char folder[] = "/tmp/edgeproof-trial-XXXXXX";
    CHECK(::mkdtemp(folder) != nullptr);
    ::setenv("EDGEPROOF_CACHE", folder, 1);
    Bundle bundle;
    bundle.manifest_sha256 = std::string(64, 'a');
    bundle.latent = LatentInput{4, 0.0, 1.0, 1};
    const ModelArtifact model{bundle, "fp32", std::nullopt};
    int loads = 0;
    const pid_t self = ::getpid();
    const auto load = [&]() -> std::unique_ptr<Engine> {
        ++loads;  // in the child: its own copy
        return std::make_unique<Faulty>(self);
    };
    CHECK(trial_of("faulty", "1", model, load).fault == "crashes on this model (SIGSEGV)");
    CHECK(loads == 0);
    const auto trials = std::filesystem::path(folder) / "trials";
    std::size_t files = 0;
    for (const auto &entry : std::filesystem::directory_iterator(trials)) {
        ++files;
        std::ofstream(entry.path()) << "damaged";
    }
    CHECK(files == 1);
    CHECK(trial_of("faulty", "2", model, load).fault == "crashes on this model (SIGSEGV)");
    std::filesystem::remove_all(folder);
}
