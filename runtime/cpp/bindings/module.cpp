#include "module.h"

NB_MODULE(_native, m) {
    m.doc() = "edgeproof's native core";
    edgeproof::bindings::register_errors(m);
    edgeproof::bindings::register_documents(m);
    edgeproof::bindings::register_frame_health(m);
    edgeproof::bindings::register_preprocess(m);
    edgeproof::bindings::register_gpu(m);
    edgeproof::bindings::register_postprocess(m);
    edgeproof::bindings::register_metrics(m);
    edgeproof::bindings::register_system(m);
}
