#pragma once

#include "edgeproof/preprocess.h"
#include "tasks/record.h"

namespace edgeproof::app {

/// Golden frames through the bundle's contract; the counterpart of `edgeproof_runtime.tasks.golden_inputs.FrameInputs`.
class FrameInputs : public GoldenInputs {
  public:
    explicit FrameInputs(const Bundle &bundle) : bundle_(bundle), preprocess_(bundle.contract) {}

    void fill(const GoldenEntry &golden, void *slot) override;
    /// Preprocessing bit for bit, and the labels if the cases have some.
    std::vector<Gate> gates() const override;

  private:
    void compare(const GoldenEntry &golden, const void *tensor);

    const Bundle &bundle_;
    Preprocessor preprocess_;
    std::size_t cases_ = 0;
    std::size_t differing_rows_ = 0;
    std::size_t wrong_shape_ = 0;
    double max_abs_diff_ = 0.0;
    std::size_t labelled_ = 0;
    std::size_t labels_differing_ = 0;
};

/// Golden seeds as latent vectors; the counterpart of `edgeproof_runtime.tasks.golden_inputs.SeedInputs`.
class SeedInputs : public GoldenInputs {
  public:
    explicit SeedInputs(const Bundle &bundle) : bundle_(bundle) {}

    void fill(const GoldenEntry &golden, void *slot) override;
    /// Every seed's latent vector, equal but for the last bit.
    std::vector<Gate> gates() const override;

  private:
    const Bundle &bundle_;
    std::size_t cases_ = 0;
    double max_abs_diff_ = 0.0;
};

}  // namespace edgeproof::app
