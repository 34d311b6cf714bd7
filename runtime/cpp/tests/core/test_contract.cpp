#include <limits>

#include "check.h"
#include "edgeproof/contract.h"
#include "edgeproof/error.h"
#include "edgeproof/geometry.h"

using namespace edgeproof;

namespace {

const std::string valid =
    R"({"color": "rgb", "resize": "shortest", "resize_size": [256, 256], "crop_size": [224, 224],)"
    R"( "crop_fraction": null, "filter": "bilinear", "resampler": "pillow-13", "fill": [0, 0, 0], "scale": 255.0,)"
    R"( "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225], "layout": "NCHW", "dtype": "float32",)"
    R"( "batch": {"min": 1, "opt": 1, "max": 32}})";

std::string with(const std::string &from, const std::string &to) {
    std::string text = valid;
    const std::size_t at = text.find(from);
    CHECK_WITH(at != std::string::npos, from);
    return text.replace(at, from.size(), to);
}

}  // namespace

TEST(a_valid_contract_is_read) {
    const Contract contract = parse_contract(valid);
    CHECK(contract.channels() == 3);
    CHECK(contract.tensor_size().height == 224);
    CHECK(contract.slot_bytes() == 3 * 224 * 224 * 4);
    CHECK(contract.mean[0] == 0.485);
    CHECK((contract.tensor_shape(2) == std::array<std::int64_t, 4>{2, 3, 224, 224}));
}

TEST(contracts_that_contradict_themselves_are_refused) {
    const std::pair<const char *, const char *> edits[] = {
        {"\"rgb\"", "\"hsv\""},
        {"\"rgb\"", "3"},
        {"\"rgb\"", "\"gray\""},
        {"\"shortest\"", "\"crop_fraction\""},
        {"\"shortest\"", "\"longest\""},
        {"[256, 256]", "[256, 300]"},
        {"[256, 256]", "[256]"},
        {"[256, 256]", "[256.0, 256.0]"},
        {"[256, 256]", "[0, 0]"},
        {"[256, 256]", "[99999, 99999]"},
        {"[256, 256]", "[99999999999999999999, 1]"},
        {"[224, 224]", "[300, 224]"},
        {"[224, 224]", "null"},
        {"\"crop_fraction\": null", "\"crop_fraction\": 0.5"},
        {"[0, 0, 0]", "[0, 0]"},
        {"[0, 0, 0]", "[0, 0, 256]"},
        {"255.0", "0"},
        {"255.0", "-1"},
        {"255.0", "1e-60"},
        {"255.0", "1e60"},
        {"255.0", "1e999"},
        {"255.0", "NaN"},
        {"0.229", "0"},
        {"0.485", "1e39"},
        {"0.485", "\"a\""},
        {"\"float32\"", "\"uint8\""},
        {"\"float32\"", "\"float64\""},
        {"\"min\": 1", "\"min\": 0"},
        {"\"min\": 1", "\"min\": 2"},
        {"\"color\"", "\"colour\""},
        {"\"layout\": \"NCHW\", ", ""},
        {"{\"min\"", "{\"min"},
    };
    for (const auto &[from, to] : edits) CHECK_THROWS(parse_contract(with(from, to)), contract);
    for (const char *text : {"", "null", "[]", "{", "{}", "7", "{\"a\": 1, \"a\": 2}"})
        CHECK_THROWS(parse_contract(text), contract);
}

TEST(tensors_and_batches_are_bounded) {
    Contract contract;
    contract.resize = ResizeMode::squash;
    contract.crop_size.reset();
    contract.resize_size = {4096, 4096};
    contract.validate();
    contract.resize_size = {5000, 5000};
    CHECK_THROWS((contract.validate(), 0), contract);
    contract.resize_size = {64, 64};
    contract.batch.max = 65'536;
    contract.validate();
    contract.batch.max = 65'537;
    CHECK_THROWS((contract.validate(), 0), contract);
}

TEST(color_channels_has_as_many_channels_as_means) {
    Contract contract;
    contract.color = Color::channels;
    for (const std::size_t channels : {std::size_t{1}, std::size_t{4}, std::size_t{64}}) {
        contract.mean.assign(channels, 0.0);
        contract.std.assign(channels, 1.0);
        contract.fill.assign(channels, 255);
        contract.validate();
        CHECK(contract.channels() == static_cast<int>(channels));
    }
    contract.fill.assign(64, 65'535);
    CHECK_THROWS((contract.validate(), 0), contract);
    contract.frame_dtype = FrameDtype::uint16;
    contract.validate();
    for (const std::size_t channels : {std::size_t{0}, std::size_t{65}}) {
        contract.mean.assign(channels, 0.0);
        contract.std.assign(channels, 1.0);
        contract.fill.assign(channels, 0);
        CHECK_THROWS((contract.validate(), 0), contract);
    }
    const Contract read = parse_contract(with("\"rgb\"", "\"channels\", \"frame_dtype\": \"float32\""));
    CHECK(read.channels() == 3 && read.frame_dtype == FrameDtype::float32);
    CHECK(parse_contract(with("\"rgb\"", "\"bgr\"")).frame_dtype == FrameDtype::uint8);
    CHECK_THROWS(parse_contract(with("\"rgb\"", "\"rgb\", \"frame_dtype\": \"uint16\"")), contract);
    CHECK_THROWS(parse_contract(with("\"rgb\"", "\"channels\", \"frame_dtype\": \"int16\"")), contract);
}

TEST(nan_and_infinity_set_in_code_are_refused) {
    for (const double value : {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
        Contract contract;
        contract.std[1] = value;
        CHECK_THROWS((contract.validate(), 0), contract);
        contract = Contract{};
        contract.mean[2] = value;
        CHECK_THROWS((contract.validate(), 0), contract);
        contract = Contract{};
        contract.scale = value;
        CHECK_THROWS((contract.validate(), 0), contract);
    }
}

TEST(json_reads_what_the_standard_allows_and_nothing_else) {
    const auto value = json::parse(R"( {"a": [1, -2.5e1, true, null], "b": "\u00e9\ud83d\ude00\n/"} )");
    CHECK(value.at("a").array()[0].integer() == 1);
    CHECK(value.at("a").array()[1].number() == -25.0);
    CHECK(value.at("a").array()[2].boolean());
    CHECK(value.at("a").array()[3].is_null());
    CHECK(value.at("b").string() == "\xC3\xA9\xF0\x9F\x98\x80\n/");
    CHECK(value.find("c") == nullptr);
    CHECK_THROWS(value.at("c"), json);
    for (const char *text : {"01", "+1", "1.", ".5", "1e", "\"\t\"", "\"\\x\"", "\"\\u12\"", "\"\\ud800\"",
                             "\"\\udc00\"", "tru", "[1,]", "{\"a\":1,}", "{a:1}", "1 2", "\"", "'a'", "-", "[1 2]"})
        CHECK_THROWS(json::parse(text), json);
    CHECK_THROWS(json::parse(std::string(100'000, '[')), json);
}

TEST(geometry_of_the_usual_camera_sizes) {
    const Geometry geometry = plan(Contract{}, 1080, 1920);
    CHECK(geometry.y.resized == 256 && geometry.x.resized == 455);
    CHECK(geometry.x.keep_start == 116 && geometry.x.keep == 224);  // (455 - 224) / 2 = 115.5, to even
    CHECK(!geometry.vertical_first);
    CHECK(plan(Contract{}, 2400, 1080).vertical_first);
}
