"""ONNX graphs: conversion by paddle2onnx, edges, rewrites, cost, and emulation of fp16."""
