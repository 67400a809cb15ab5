export { FiberLeak, leakGuard } from "./leakGuard.ts"
export { schedulerSuite } from "./schedulerSuite.ts"
export * as TestScheduler from "./TestScheduler.ts"
