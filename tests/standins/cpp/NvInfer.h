// A stand-in for TensorRT's header: what classify.cpp uses, declared as NvInferRuntime.h of 8.2 and
// of 10 declare it (NV_TENSORRT_MAJOR and _MINOR say which), with an engine that is no network: the
// mean grey value chooses the class. It shows that classify.cpp keeps to these interfaces, reads
// frames and writes answers; compiling against the real header is left to the board.
#pragma once
#include <cuda_runtime_api.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>

namespace nvinfer1 {
using AsciiChar = char;
enum class DataType : int32_t { kFLOAT = 0, kHALF = 1 };

#if NV_TENSORRT_MAJOR >= 10
struct Dims { int32_t nbDims; int64_t d[8]; };
#else
struct Dims { int32_t nbDims; int32_t d[8]; };
#endif

class ILogger {
public:
    enum class Severity : int32_t { kINTERNAL_ERROR = 0, kERROR = 1, kWARNING = 2 };
    virtual void log(Severity severity, AsciiChar const* msg) noexcept = 0;
    virtual ~ILogger() = default;
};

class IExecutionContext {
public:
    explicit IExecutionContext(int side) : side_(side) {}
    virtual ~IExecutionContext() noexcept = default;
#if NV_TENSORRT_MAJOR >= 10
    bool setTensorAddress(char const* tensorName, void* data) noexcept { addresses_[tensorName] = data; return true; }
    bool enqueueV3(cudaStream_t) noexcept { return run(addresses_["grey"], addresses_["probabilities"]); }
#else
    bool enqueueV2(void* const* bindings, cudaStream_t, cudaEvent_t*) noexcept { return run(bindings[1], bindings[0]); }
#endif
private:
    bool run(void* grey, void* probabilities) {
        auto const* from = static_cast<float const*>(grey);
        double sum = 0;
        for (int index = 0; index < side_ * side_; ++index) sum += from[index];
        int const chosen = static_cast<int>(sum / (side_ * side_) / 64);
        for (int index = 0; index < 4; ++index)
            static_cast<float*>(probabilities)[index] = index == chosen ? 0.7f : index == 3 - chosen ? 0.2f : 0.05f;
        return true;
    }
    int side_;
    std::map<std::string, void*> addresses_;
};

class ICudaEngine {
public:
    explicit ICudaEngine(int side) : side_(side) {}
    virtual ~ICudaEngine() noexcept = default;
    IExecutionContext* createExecutionContext() noexcept { return new IExecutionContext(side_); }
#if NV_TENSORRT_MAJOR >= 10
    int32_t getNbIOTensors() const noexcept { return 2; }
    char const* getIOTensorName(int32_t index) const noexcept { return names_[index]; }
    Dims getTensorShape(char const* name) const noexcept { return shape(std::strcmp(name, "grey") == 0); }
    DataType getTensorDataType(char const*) const noexcept { return DataType::kFLOAT; }
#else
    int32_t getNbBindings() const noexcept { return 2; }
    char const* getBindingName(int32_t index) const noexcept { return names_[index]; }
    Dims getBindingDimensions(int32_t index) const noexcept { return shape(index == 1); }
    DataType getBindingDataType(int32_t) const noexcept { return DataType::kFLOAT; }
#endif
private:
    Dims shape(bool input) const { return input ? Dims{4, {1, 1, side_, side_}} : Dims{2, {1, 4}}; }
    int side_;
    char const* names_[2] = {"probabilities", "grey"};
};

class IRuntime {
public:
    virtual ~IRuntime() noexcept = default;
    ICudaEngine* deserializeCudaEngine(void const* blob, std::size_t size) noexcept {
        int const side = std::atoi(std::string(static_cast<char const*>(blob), size).c_str());
        return side > 0 ? new ICudaEngine(side) : nullptr;
    }
};

inline IRuntime* createInferRuntime(ILogger& logger) noexcept {
    (void)logger;
    return new IRuntime;
}
}  // namespace nvinfer1
