#pragma once

// The one function of TensorRT's plugins that edgeproof-run calls; see NvInferRuntime.h.

extern "C" bool initLibNvInferPlugins(void *logger, const char *name_space);
