"""Which flags trtexec knows, by TensorRT's version as its banner has it.

Read in samples/common/sampleOptions.cpp of NVIDIA/TensorRT for 10.0.1, 10.14 and 11.2.1, and in what `trtexec --help`
of 10.5.0 prints. Sources of 10.3.0 and 10.13.0 themselves were not at hand: theirs are the flags that stand both in the
nearest earlier and in the nearest later one, so that none is taken for known that may not be.
"""

from __future__ import annotations

_BUILD = """
onnx minShapes optShapes maxShapes inputIOFormats outputIOFormats memPoolSize profilingVerbosity avgTiming refit
stripWeights versionCompatible vc pluginInstanceNorm pi useRuntime leanDLLPath excludeLeanRuntime sparsity noTF32
stronglyTyped directIO layerDeviceTypes safe buildDLAStandalone allowGPUFallback saveEngine loadEngine
getPlanVersionOnly tacticSources noBuilderCache noCompilationCache errorOnTimingCacheMiss timingCacheFile preview
builderOptimizationLevel hardwareCompatibilityLevel tempdir tempfileControls maxAuxStreams profile allowWeightStreaming
markDebug skipInference
"""
_RUN = """
shapes loadInputs iterations warmUp duration sleepTime idleTime infStreams exposeDMA noDataTransfers useManagedMemory
useSpinWait threads useCudaGraph timeDeserialize timeRefit separateProfileRun persistentCacheRatio useProfile
allocationStrategy saveDebugTensors weightStreamingBudget verbose avgRuns percentile dumpRefit dumpOutput
dumpRawBindingsToFile dumpProfile dumpLayerInfo dumpOptimizationProfile exportTimes exportOutput exportProfile
exportLayerInfo device useDLACore staticPlugins dynamicPlugins setPluginsToSerialize ignoreParsedPluginLibs help
"""
_WEAKLY_TYPED = """
fp16 bf16 int8 fp8 best precisionConstraints layerPrecisions layerOutputTypes calib calibProfile minShapesCalib
optShapesCalib maxShapesCalib restricted weightless
"""
_SINCE_10_5 = "stripAllWeights maxTactics runtimePlatform"
# In 11 a CUDA graph, spinning and no copies are what is done unless told; the old three flags do nothing but warn.
_SINCE_11 = """
includeDataTransfers noSpinWait noCudaGraph setBuildRoute tuneBuildRoutes loadRefOutputs refPair accuracyThreshold
cpuOnly tilingOptimizationLevel monitorMemory distributiveIndependence decomposableAttentions
"""
FLAGS: dict[str, frozenset[str]] = {
    "100300": frozenset(f"{_BUILD} {_RUN} {_WEAKLY_TYPED}".split()),
    "101300": frozenset(f"{_BUILD} {_RUN} {_WEAKLY_TYPED} {_SINCE_10_5} int4".split()),
    "110201": frozenset(f"{_BUILD} {_RUN} {_SINCE_10_5} {_SINCE_11}".split()),
}
