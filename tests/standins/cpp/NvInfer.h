// A stand-in for TensorRT's header: what classify.cpp uses, declared as NvInferRuntime.h of 8.2 and
// of 10 declare it (NV_TENSORRT_MAJOR and _MINOR say which), with an engine that is no network: a
// text with the side of its frames and a row of outputs for each value of a frame's first pixel (four
// probabilities, and an OOD score where there are five numbers). It shows that classify.cpp keeps to
// these interfaces, reads frames and writes answers; compiling against the real header is left to the
// board.
#pragma once
#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>
#include <sstream>
#include <string>
#include <vector>

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

struct Table {
    int side = 0;
    std::vector<std::vector<float>> rows;
};

class IExecutionContext {
public:
    explicit IExecutionContext(Table const& table) : table_(table) {}
    virtual ~IExecutionContext() noexcept = default;
#if NV_TENSORRT_MAJOR >= 10
    bool setTensorAddress(char const* tensorName, void* data) noexcept { addresses_[tensorName] = data; return true; }
    bool enqueueV3(cudaStream_t) noexcept { return run(addresses_["grey"], addresses_["probabilities"], addresses_["ood_score"]); }
#else
    bool enqueueV2(void* const* bindings, cudaStream_t, cudaEvent_t*) noexcept {
        return run(bindings[1], bindings[0], table_.rows[0].size() > 4 ? bindings[2] : nullptr);
    }
#endif
private:
    bool run(void* grey, void* probabilities, void* ood_score) {
        auto const row = static_cast<std::size_t>(*static_cast<float const*>(grey));
        if (row >= table_.rows.size()) return false;
        std::copy_n(table_.rows[row].begin(), 4, static_cast<float*>(probabilities));
        if (ood_score) *static_cast<float*>(ood_score) = table_.rows[row][4];
        return true;
    }
    Table table_;
    std::map<std::string, void*> addresses_;
};

class ICudaEngine {
public:
    explicit ICudaEngine(Table const& table) : table_(table), ports_(table.rows[0].size() > 4 ? 3 : 2) {}
    virtual ~ICudaEngine() noexcept = default;
    IExecutionContext* createExecutionContext() noexcept { return new IExecutionContext(table_); }
#if NV_TENSORRT_MAJOR >= 10
    int32_t getNbIOTensors() const noexcept { return ports_; }
    char const* getIOTensorName(int32_t index) const noexcept { return names_[index]; }
    Dims getTensorShape(char const* name) const noexcept {
        return shape(std::strcmp(name, "probabilities") == 0 ? 0 : std::strcmp(name, "grey") == 0 ? 1 : 2);
    }
    DataType getTensorDataType(char const*) const noexcept { return DataType::kFLOAT; }
#else
    int32_t getNbBindings() const noexcept { return ports_; }
    char const* getBindingName(int32_t index) const noexcept { return names_[index]; }
    Dims getBindingDimensions(int32_t index) const noexcept { return shape(index); }
    DataType getBindingDataType(int32_t) const noexcept { return DataType::kFLOAT; }
#endif
private:
    Dims shape(int32_t index) const {
        if (index == 1) return Dims{4, {1, 1, table_.side, table_.side}};
        return index == 0 ? Dims{2, {1, 4}} : Dims{1, {1}};
    }
    Table table_;
    int32_t ports_;
    char const* names_[3] = {"probabilities", "grey", "ood_score"};
};

class IRuntime {
public:
    virtual ~IRuntime() noexcept = default;
    ICudaEngine* deserializeCudaEngine(void const* blob, std::size_t size) noexcept {
        std::istringstream text(std::string(static_cast<char const*>(blob), size));
        Table table;
        std::string line, word;
        if (std::getline(text, line)) table.side = std::atoi(line.c_str());
        while (std::getline(text, line)) {
            std::istringstream words(line);
            table.rows.emplace_back();
            while (words >> word) table.rows.back().push_back(std::strtof(word.c_str(), nullptr));  // (nan, inf, too)
        }
        return table.side > 0 && !table.rows.empty() ? new ICudaEngine(table) : nullptr;
    }
};

inline IRuntime* createInferRuntime(ILogger& logger) noexcept {
    (void)logger;
    return new IRuntime;
}
}  // namespace nvinfer1
