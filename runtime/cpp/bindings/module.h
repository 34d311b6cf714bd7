#pragma once

#include <nanobind/nanobind.h>

namespace edgeproof::bindings {

void register_documents(nanobind::module_ &m);
void register_errors(nanobind::module_ &m);
void register_frame_health(nanobind::module_ &m);
void register_gpu(nanobind::module_ &m);
void register_preprocess(nanobind::module_ &m);
void register_postprocess(nanobind::module_ &m);
void register_metrics(nanobind::module_ &m);
void register_system(nanobind::module_ &m);

}  // namespace edgeproof::bindings
