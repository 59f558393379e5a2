// A stand-in for TensorRT's header: what classify.cpp uses, declared as NvInferRuntime.h of 8.2, 10
// and 11 declare it (NV_TENSORRT_MAJOR and _MINOR say which). An engine is the ONNX file itself, and
// ONNX Runtime computes, in Python at the other end of a socket (engine_server.py; STANDIN_ENGINE names
// it). It shows that classify.cpp keeps to these interfaces and answers as
// Python does; compiling against the real header is left to the board.
#pragma once
#include <cuda_runtime_api.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace nvinfer1 {
using AsciiChar = char;
enum class DataType : int32_t { kFLOAT = 0, kHALF = 1 };
enum class OptProfileSelector : int32_t { kMIN = 0, kOPT = 1, kMAX = 2 };

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

struct Tensor {
    std::string name;
    bool is_input;
    Dims shape;
};

// A connection to who computes: 64-bit and 32-bit integers and floats go to and fro.
class Connection {
public:
    Connection() {
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        std::strncpy(address.sun_path, std::getenv("STANDIN_ENGINE"), sizeof address.sun_path - 1);
        socket_ = socket(AF_UNIX, SOCK_STREAM, 0);
        if (connect(socket_, reinterpret_cast<sockaddr*>(&address), sizeof address)) std::abort();
    }
    ~Connection() { close(socket_); }
    Connection(Connection const&) = delete;
    Connection& operator=(Connection const&) = delete;

    void put(void const* data, std::size_t size) {
        for (auto* at = static_cast<char const*>(data); size > 0;) {
            auto const done = write(socket_, at, size);
            if (done <= 0) std::abort();
            at += done, size -= static_cast<std::size_t>(done);
        }
    }
    void get(void* data, std::size_t size) {
        for (auto* at = static_cast<char*>(data); size > 0;) {
            auto const done = read(socket_, at, size);
            if (done <= 0) std::abort();
            at += done, size -= static_cast<std::size_t>(done);
        }
    }
    int32_t number() {
        int32_t value = 0;
        get(&value, sizeof value);
        return value;
    }

private:
    int socket_ = -1;
};

struct File {
    Connection connection;
    std::vector<Tensor> tensors;

    std::size_t find(std::string const& name) const {
        std::size_t index = 0;
        while (tensors[index].name != name) ++index;
        return index;
    }
};

class IExecutionContext {
public:
    explicit IExecutionContext(std::shared_ptr<File> file) : file_(file), tensors_(file->tensors) {}
    virtual ~IExecutionContext() noexcept = default;
#if NV_TENSORRT_MAJOR >= 10
    bool setTensorAddress(char const* tensorName, void* data) noexcept { addresses_[tensorName] = data; return true; }
    bool setInputShape(char const* tensorName, Dims const& dims) noexcept { return set(file_->find(tensorName), dims); }
    bool enqueueV3(cudaStream_t) noexcept { return run(); }
#else
    bool setBindingDimensions(int32_t bindingIndex, Dims dimensions) noexcept {
        return set(static_cast<std::size_t>(bindingIndex), dimensions);
    }
    bool enqueueV2(void* const* bindings, cudaStream_t, cudaEvent_t*) noexcept {
        for (auto const& tensor : tensors_) addresses_[tensor.name] = *bindings++;
        return run();
    }
#endif
private:
    bool set(std::size_t index, Dims const& dims) {
        for (int32_t side = 1; side < dims.nbDims; ++side)
            if (dims.d[side] < 32 || dims.d[side] > 2048) return false;
        tensors_[index].shape = dims;
        return true;
    }
    static std::size_t count(Dims const& shape) {
        std::size_t product = 1;
        for (int32_t side = 0; side < shape.nbDims; ++side) product *= static_cast<std::size_t>(shape.d[side]);
        return product;
    }
    bool run() {
        for (auto const& tensor : tensors_) {
            if (!tensor.is_input) continue;
            for (int32_t side = 0; side < tensor.shape.nbDims; ++side) {
                auto const length = static_cast<int32_t>(tensor.shape.d[side]);
                file_->connection.put(&length, sizeof length);
            }
            file_->connection.put(addresses_[tensor.name], count(tensor.shape) * sizeof(float));
        }
        if (!file_->connection.number()) return false;
        for (auto const& tensor : tensors_)
            if (!tensor.is_input) file_->connection.get(addresses_[tensor.name], count(tensor.shape) * sizeof(float));
        return true;
    }
    std::shared_ptr<File> file_;
    std::vector<Tensor> tensors_;
    std::map<std::string, void*> addresses_;
};

class ICudaEngine {
public:
    explicit ICudaEngine(std::shared_ptr<File> file) : file_(file) {}
    virtual ~ICudaEngine() noexcept = default;
    IExecutionContext* createExecutionContext() noexcept { return new IExecutionContext(file_); }
#if NV_TENSORRT_MAJOR >= 10
    int32_t getNbIOTensors() const noexcept { return static_cast<int32_t>(file_->tensors.size()); }
    char const* getIOTensorName(int32_t index) const noexcept { return at(index).name.c_str(); }
    Dims getTensorShape(char const* name) const noexcept { return file_->tensors[file_->find(name)].shape; }
    DataType getTensorDataType(char const*) const noexcept { return DataType::kFLOAT; }
    Dims getProfileShape(char const*, int32_t, OptProfileSelector) const noexcept { return Dims{3, {1, 2048, 2048}}; }
#else
    int32_t getNbBindings() const noexcept { return static_cast<int32_t>(file_->tensors.size()); }
    char const* getBindingName(int32_t index) const noexcept { return at(index).name.c_str(); }
    Dims getBindingDimensions(int32_t index) const noexcept { return at(index).shape; }
    DataType getBindingDataType(int32_t) const noexcept { return DataType::kFLOAT; }
    Dims getProfileDimensions(int32_t, int32_t, OptProfileSelector) const noexcept { return Dims{3, {1, 2048, 2048}}; }
#endif
private:
    Tensor const& at(int32_t index) const { return file_->tensors[static_cast<std::size_t>(index)]; }
    std::shared_ptr<File> file_;
};

class IRuntime {
public:
    virtual ~IRuntime() noexcept = default;
    ICudaEngine* deserializeCudaEngine(void const* blob, std::size_t size) noexcept {
        auto file = std::make_shared<File>();
        auto const length = static_cast<int64_t>(size);
        file->connection.put(&length, sizeof length);
        file->connection.put(blob, size);
        file->tensors.resize(static_cast<std::size_t>(file->connection.number()));
        for (auto& tensor : file->tensors) {
            tensor.name.resize(static_cast<std::size_t>(file->connection.number()));
            file->connection.get(&tensor.name[0], tensor.name.size());
            tensor.is_input = file->connection.number() != 0;
            tensor.shape.nbDims = file->connection.number();
            for (int32_t side = 0; side < tensor.shape.nbDims; ++side) tensor.shape.d[side] = file->connection.number();
        }
        return file->tensors.empty() ? nullptr : new ICudaEngine(file);
    }
};

inline IRuntime* createInferRuntime(ILogger& logger) noexcept {
    (void)logger;
    return new IRuntime;
}
}  // namespace nvinfer1
