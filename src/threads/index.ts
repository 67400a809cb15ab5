export * as ProcessRunner from "./ProcessRunner.ts"
export * as ThreadHost from "./ThreadHost.ts"
export * as ThreadRunner from "./ThreadRunner.ts"
