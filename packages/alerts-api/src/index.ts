export { type AlertsApi, type AlertsApiOptions, startAlertsApi } from './alerts-api.ts'
